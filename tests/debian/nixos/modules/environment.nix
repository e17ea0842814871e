{ lib, config, ... }:
let
  inherit (lib) mkOption types;
in
{
  options = {
    # nixos/modules/system/etc/etc.nix
    environment.etc = mkOption {
      default = { };
      description = "Files below /etc.";
      type = types.attrsOf (
        types.submodule (
          { name, config, ... }:
          {
            options = {
              enable = mkOption {
                type = types.bool;
                default = true;
              };
              target = mkOption {
                type = types.str;
                default = name;
              };
              text = mkOption {
                type = types.nullOr types.lines;
                default = null;
              };
              source = mkOption {
                type = types.nullOr types.path;
                default = null;
              };
              mode = mkOption {
                type = types.str;
                default = "symlink";
              };
            };
          }
        )
      );
    };
    # nixos/modules/config/system-path.nix
    environment.systemPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "Packages whose programs everybody finds.";
    };
    # nixos/modules/config/shells-environment.nix
    environment.variables = mkOption {
      type = types.attrsOf (
        types.oneOf [
          types.str
          types.int
          types.path
        ]
      );
      default = { };
      description = "Variables of login shells.";
    };
    # nixos/modules/misc/documentation.nix
    documentation.enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether to install manuals; there are none here.";
    };
    # nixos/modules/misc/version.nix
    system.stateVersion = mkOption {
      type = types.str;
      description = "The release whose defaults data were made with.";
    };
    system.nixos.version = mkOption {
      type = types.str;
      default = "26.05";
      internal = true;
    };
    # nixos/modules/config/locale.nix
    time.timeZone = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "Time zone.";
    };
    # nixos/modules/config/nix.nix
    nix.enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether the system has Nix; it never has here.";
    };
    # nixos/modules/system/activation/switchable-system.nix
    system.switch.enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether the system can be switched to another configuration; it never can here.";
    };
  };

  config.files =
    lib.mapAttrs' (
      _: file:
      lib.nameValuePair "/etc/${file.target}" (
        if file.text != null then
          {
            inherit (file) text;
            mode = if file.mode == "symlink" then "0644" else file.mode;
          }
        else
          { link = "${file.source}"; }
      )
    ) (lib.filterAttrs (_: file: file.enable) config.environment.etc)
    // {
      "/etc/profile.d/system.sh".text =
        "export PATH=/run/current-system/sw/bin:$PATH\n"
        + lib.concatStrings (
          lib.mapAttrsToList (
            name: value: "export ${name}=${lib.escapeShellArg value}\n"
          ) config.environment.variables
        );
    };
}
