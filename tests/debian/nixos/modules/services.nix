# The few services of NixOS itself that are asked for.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.services = {
    # nixos/modules/services/ttys/getty.nix
    getty.autologinUser = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "User that is logged in on every console.";
    };
    getty.helpLine = mkOption {
      type = types.lines;
      default = "";
      description = "What is shown above the login prompt.";
    };
  };

  config.files =
    lib.optionalAttrs (config.services.getty.autologinUser != null) (
      lib.genAttrs
        (map (unit: "/etc/systemd/system/${unit}@.service.d/autologin.conf") [
          "getty"
          "serial-getty"
        ])
        (_: {
          text = ''
            [Service]
            ExecStart=
            ExecStart=-/sbin/agetty --autologin ${config.services.getty.autologinUser} --keep-baud --noclear - $TERM
          '';
        })
    )
    // {
      "/etc/issue".text = "${config.networking.hostName} \\l\n${config.services.getty.helpLine}\n";
    };
}
