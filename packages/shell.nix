# What working on FlowKit takes: `default` compiles it, `services` has the programs that tests start as well.
{ pkgs, packages }:
let
  tools = [
    pkgs.cargo
    pkgs.rustc
    pkgs.clippy
    pkgs.rustfmt
    pkgs.nixfmt
    pkgs.jq
  ];
in
{
  default = pkgs.mkShell { packages = tools; };
  services = pkgs.mkShell {
    packages = tools ++ [
      packages.postgresql
      packages.redis
    ];
    env.FLOWKIT_PYTHON = "${packages.flowmachine}/bin/python";
  };
}
