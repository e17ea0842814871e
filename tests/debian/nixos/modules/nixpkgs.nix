# nixos/modules/misc/nixpkgs.nix
{ lib, ... }:
{
  options.nixpkgs = {
    hostPlatform = lib.mkOption {
      type = lib.types.coercedTo lib.types.str (system: { inherit system; }) lib.types.attrs;
      default = "x86_64-linux";
      description = "What the system runs on.";
    };
    pkgs = lib.mkOption {
      type = lib.types.raw;
      description = "The package set.";
    };
  };
}
