# The few options of NixOS that our modules set, with the types that NixOS gives them, so that they can be evaluated with
# nothing but a `lib`. Each group names the file of nixpkgs that really declares it. Unknown names are errors here too.
{ lib, pkgs }:
let
  inherit (lib) mkOption types;
  list =
    type:
    mkOption {
      type = types.listOf type;
      default = [ ];
    };
  scalar = types.oneOf [
    types.bool
    types.int
    types.float
    types.str
  ];
  # nixos/lib/systemd-unit-options.nix: unitOption, a value, or a list for a key that may be repeated.
  section = mkOption {
    type = types.attrsOf (types.either scalar (types.listOf scalar));
    default = { };
  };
  # nixos/lib/systemd-lib.nix: unitNameType
  unitName = types.addCheck types.str (
    name:
    builtins.match "[a-zA-Z0-9@%:_.\\-]+[.](service|socket|device|mount|automount|swap|target|path|timer|scope|slice)" name
    != null
  );
in
{
  config._module.args = { inherit pkgs; };

  options = {
    # nixos/modules/misc/assertions.nix
    assertions = list types.raw;
    warnings = list types.str;

    # nixos/modules/config/system-path.nix
    environment.systemPackages = list types.package;

    # nixos/modules/services/networking/firewall.nix
    networking.firewall.allowedTCPPorts = list types.port // {
      apply = ports: lib.unique (builtins.sort builtins.lessThan ports);
    };

    # nixos/modules/config/users-groups.nix
    users.users = mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule {
          options = {
            isSystemUser = mkOption {
              type = types.bool;
              default = false;
            };
            group = mkOption {
              type = types.addCheck types.str (name: builtins.stringLength name < 32);
              default = "";
            };
            extraGroups = list types.str;
            home = mkOption {
              type = types.path;
              default = "/var/empty";
            };
            description = mkOption {
              type = types.addCheck types.singleLineStr (text: builtins.match ".*:.*" text == null);
              default = "";
            };
          };
        }
      );
    };
    users.groups = mkOption {
      default = { };
      type = types.attrsOf (types.submodule { options.members = list types.str; });
    };

    # nixos/modules/system/boot/systemd/tmpfiles.nix
    systemd.tmpfiles.settings = mkOption {
      default = { };
      type = types.attrsOf (
        types.attrsOf (
          types.attrsOf (
            types.submodule {
              options = lib.genAttrs [ "mode" "user" "group" "age" ] (
                _:
                mkOption {
                  type = types.str;
                  default = "-";
                }
              );
            }
          )
        )
      );
    };

    # nixos/modules/system/boot/systemd.nix, nixos/lib/systemd-unit-options.nix (stage2ServiceOptions)
    systemd.services = mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule {
          options = {
            description = mkOption {
              type = types.singleLineStr;
              default = "";
            };
            wantedBy = list unitName;
            wants = list unitName;
            requires = list unitName;
            after = list unitName;
            before = list unitName;
            restartTriggers = list types.raw;
            environment = mkOption {
              type = types.attrsOf (
                types.nullOr (
                  types.oneOf [
                    types.str
                    types.path
                    types.package
                  ]
                )
              );
              default = { };
            };
            unitConfig = section;
            serviceConfig = section;
          };
        }
      );
    };
  };
}
