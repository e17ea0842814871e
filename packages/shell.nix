# What working on FlowKit takes: the toolchain, and the programs that tests start.
{ pkgs, packages }:
pkgs.mkShell {
  packages = [
    pkgs.cargo
    pkgs.rustc
    pkgs.clippy
    pkgs.rustfmt
    pkgs.nixfmt
    pkgs.jq
    packages.postgresql
    packages.redis
  ];
  env.FLOWKIT_PYTHON = "${packages.flowmachine}/bin/python";
}
