# nixos/modules/system/boot/systemd.nix with nixos/lib/systemd-unit-options.nix: what units can be told. The sections
# `unitConfig` and `serviceConfig` are free, as there.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  render = import ../units.nix { inherit lib pkgs; };

  units =
    description:
    mkOption {
      type = types.listOf (
        types.strMatching "[a-zA-Z0-9@%:_.\\-]+[.](service|socket|device|mount|automount|swap|target|path|timer|scope|slice)"
      );
      default = [ ];
      inherit description;
    };
  text =
    description:
    mkOption {
      type = types.lines;
      default = "";
      inherit description;
    };
  section =
    description:
    mkOption {
      type = types.attrsOf (
        let
          value = types.oneOf [
            types.bool
            types.int
            types.float
            types.str
            types.path
            types.package
          ];
        in
        types.either value (types.listOf value)
      );
      default = { };
      inherit description;
    };
  flag =
    default: description:
    mkOption {
      type = types.bool;
      inherit default description;
    };

  common = {
    enable = flag true "Whether the unit exists.";
    description = mkOption {
      type = types.singleLineStr;
      default = "";
      description = "What the unit is.";
    };
    documentation = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Where to read about it.";
    };
    unitConfig = section "The section [Unit].";
    restartTriggers = mkOption {
      type = types.listOf types.unspecified;
      default = [ ];
      description = "What, when it changes, changes the unit.";
    };
  }
  // lib.genAttrs [
    "after"
    "before"
    "bindsTo"
    "conflicts"
    "onFailure"
    "partOf"
    "requiredBy"
    "requires"
    "requisite"
    "wantedBy"
    "wants"
  ] units;

  service = {
    options = common // {
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
        description = "Environment variables.";
      };
      path = mkOption {
        type = types.listOf (
          types.oneOf [
            types.package
            types.str
          ]
        );
        default = [ ];
        description = "Packages whose programs the unit finds.";
      };
      serviceConfig = section "The section [Service].";
      script = text "What the unit runs.";
      preStart = text "What runs before it.";
      postStart = text "What runs when it is up.";
      startLimitBurst = mkOption {
        type = types.nullOr types.int;
        default = null;
        description = "Starts within startLimitIntervalSec after which there are no more.";
      };
      startLimitIntervalSec = mkOption {
        type = types.nullOr types.int;
        default = null;
        description = "Time, in seconds, over which starts are counted.";
      };
      restartIfChanged = flag true "Whether a new configuration restarts it; there is none here.";
      stopIfChanged = flag true "Whether that is a stop and a start; there is none here.";
    };
  };
  tmpfile = {
    options =
      lib.genAttrs
        [
          "mode"
          "user"
          "group"
          "age"
        ]
        (
          _:
          mkOption {
            type = types.str;
            default = "-";
            description = "As in tmpfiles.d(5).";
          }
        )
      // {
        argument = mkOption {
          type = types.str;
          default = "";
          description = "As in tmpfiles.d(5).";
        };
      };
  };
in
{
  options.systemd = {
    services = mkOption {
      type = types.attrsOf (types.submodule service);
      default = { };
      description = "Services.";
    };
    targets = mkOption {
      type = types.attrsOf (types.submodule { options = common; });
      default = { };
      description = "Targets.";
    };
    # nixos/modules/system/boot/systemd/tmpfiles.nix
    tmpfiles.rules = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Lines of tmpfiles.d(5).";
    };
    tmpfiles.settings = mkOption {
      type = types.attrsOf (types.attrsOf (types.attrsOf (types.submodule tmpfile)));
      default = { };
      description = "The same, by file, path and type.";
    };
  };

  # nixos/modules/system/boot/systemd/initrd.nix. Debian's initial system has no systemd: the scripts of these services are
  # run when all file systems that are needed for booting are there.
  options.boot.initrd.systemd.services = mkOption {
    type = types.attrsOf (types.submodule service);
    default = { };
    description = "Services of the initial system.";
  };

  config.files =
    render.services config.systemd.services
    // lib.mapAttrs' (
      name: service: lib.nameValuePair "/usr/lib/initrd-services/${name}" { text = service.script; }
    ) config.boot.initrd.systemd.services
    // render.targets config.systemd.targets
    // {
      # Where those find the system that is to come.
      "/sysroot".link = "/";
      "/etc/tmpfiles.d/00-nixos.conf".text = lib.concatLines (
        [ "d /var/empty 0555 root root - -" ] ++ config.systemd.tmpfiles.rules
      );
    }
    // lib.mapAttrs' (
      file: paths:
      lib.nameValuePair "/etc/tmpfiles.d/${file}.conf" {
        text = lib.concatStrings (
          lib.concatLists (
            lib.mapAttrsToList (
              path:
              lib.mapAttrsToList (
                type: t: "${type} ${builtins.toJSON path} ${t.mode} ${t.user} ${t.group} ${t.age} ${t.argument}\n"
              )
            ) paths
          )
        );
      }
    ) config.systemd.tmpfiles.settings;
}
