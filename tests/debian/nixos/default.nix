# `lib.nixosSystem`: NixOS modules, evaluated, become a Debian system. Real systemd and Debian's kernel run the services,
# users, directories, files and firewall rules that the modules ask for; everything else is Debian's own.
#
# Options are declared in modules/, only those that this repository sets, each with the type it has in NixOS and the name
# of the file of nixpkgs that really declares it. Anything else is refused.
{ lib, packagesFor }:
{
  modules,
  specialArgs ? { },
  ...
}:
let
  evaluated = lib.evalModules {
    class = "nixos";
    modules = [
      ./modules
      (
        { config, ... }:
        {
          _module.args.pkgs = config.nixpkgs.pkgs;
          nixpkgs.pkgs = lib.mkDefault (packagesFor config.nixpkgs.hostPlatform.system);
        }
      )
    ]
    ++ modules;
    specialArgs = {
      # Modules import "${modulesPath}/virtualisation/qemu-vm.nix" and the like.
      modulesPath = toString ./modules;
    }
    // specialArgs;
  };
  failed = map (a: a.message) (lib.filter (a: !a.assertion) evaluated.config.assertions);
  checked = lib.foldr lib.warn evaluated.config evaluated.config.warnings;
in
evaluated
// {
  config =
    if failed != [ ] then
      throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (message: "- ${message}") failed}"
    else
      checked;
  inherit (evaluated._module.args) pkgs;
}
