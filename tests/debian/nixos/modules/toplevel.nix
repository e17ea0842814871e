# nixos/modules/system/activation/top-level.nix, system/build.nix: the system as store paths.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  base = import ../base.nix { inherit pkgs; };
  software = pkgs.symlinkJoin {
    name = "system-path";
    paths = config.environment.systemPackages;
  };
in
{
  options = {
    system.build = mkOption {
      type = types.lazyAttrsOf types.unspecified;
      default = { };
      description = "What can be built of the configuration.";
    };
    # nixos/modules/system/name.nix
    system.name = mkOption {
      type = types.str;
      default = if config.networking.hostName == "" then "unnamed" else config.networking.hostName;
      description = "The name of the system in store paths.";
    };
    # Ours: every file that the modules above put over Debian's.
    files = mkOption {
      internal = true;
      default = { };
      type = types.attrsOf (
        types.submodule {
          options = {
            text = mkOption {
              type = types.nullOr types.str;
              default = null;
            };
            link = mkOption {
              type = types.nullOr types.str;
              default = null;
            };
            mode = mkOption {
              type = types.str;
              default = "0644";
            };
          };
        }
      );
    };
  };

  config = {
    system.build = {
      inherit base;
      # A tree to lay over Debian's (`root`), and how to boot it.
      toplevel = pkgs.stdenvNoCC.mkDerivation {
        name = "nixos-system-${config.system.name}-${config.system.nixos.version}";
        __structuredAttrs = true;
        files = lib.mapAttrs (_: file: lib.filterAttrs (_: v: v != null) file) config.files;
        users = lib.attrValues config.users.users;
        groups = lib.attrValues config.users.groups;
        inherit (config.boot) kernelParams;
        mountpoints = lib.attrNames config.fileSystems;
        inherit base software;
        buildCommand = ''
          /usr/bin/python3 ${../toplevel.py} "$NIX_ATTRS_JSON_FILE" "$out"
        '';
      };
    };
  };
}
