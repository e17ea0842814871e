# What `nix flake check` checks, found by reading folders:
#
#   tests/packages.nix    formatting, lints, unit tests; each image builds, and is the same bytes when built again
#   tests/modules         the NixOS modules with good and bad options
#   tests/nixos/*.nix     machines that boot; a file is a test as `runNixOSTest` takes it
#
# The names are known without the package set.
{
  pkgs,
  packages,
  roles,
  ...
}@outputs:
let
  machines = builtins.filter (file: builtins.match ".*\\.nix" file != null) (
    if builtins.pathExists ./nixos then builtins.attrNames (builtins.readDir ./nixos) else [ ]
  );
in
import ./packages.nix outputs
// {
  modules =
    let
      inherit (import ./modules { inherit (pkgs) lib; }) failures;
    in
    if failures == [ ] then
      pkgs.runCommand "flowkit-modules" { } "touch $out"
    else
      throw "modules: ${pkgs.lib.concatStringsSep "\n" failures}";
  modules-settings = import ./modules/settings.nix { inherit pkgs packages; };
}
// builtins.listToAttrs (
  map (file: {
    name = "machine-" + builtins.substring 0 (builtins.stringLength file - 4) file;
    value = pkgs.testers.runNixOSTest {
      imports = [ (./nixos + "/${file}") ];
      defaults.imports = [ ../modules ];
    };
  }) machines
)
