# A host with our modules, evaluated with nothing but a `lib`: its configuration, what it says is wrong, its unit files.
{
  lib,
  # Where nothing is built, packages by their names are enough.
  pkgs ? import ./packages.nix,
  packages ? lib.genAttrs [
    "flowkit"
    "postgresql"
    "plain-postgresql"
    "redis"
    "flowmachine"
    "flowetl"
    "flowapi"
    "flowauth"
    "autoflow"
    "notebooks"
  ] pkgs.named,
}:
rec {
  evaluated =
    modules:
    lib.evalModules {
      class = "nixos";
      modules = [
        (import ./stub.nix { inherit lib pkgs; })
        # For whoever imports no module of ours.
        ../../../modules/lib/common.nix
        { services.flowkit = { inherit packages; }; }
      ]
      ++ modules;
    };

  host =
    modules:
    let
      inherit (evaluated modules) config;
    in
    {
      inherit config;
      inherit (config) warnings;
      failed = map (it: it.message) (lib.filter (it: !it.assertion) config.assertions);
      units = lib.mapAttrs (_: unit) config.systemd.services;
    };

  # As nixos/lib/systemd-lib.nix writes it.
  unit =
    service:
    let
      value = it: if builtins.isBool it then builtins.toJSON it else toString it;
      lines =
        section:
        lib.concatMap (key: map (it: "${key}=${value it}") (lib.flatten [ section.${key} ])) (
          lib.attrNames section
        );
      named = lib.filterAttrs (_: units: units != [ ]) {
        After = service.after;
        Before = service.before;
        Requires = service.requires;
        Wants = service.wants;
      };
    in
    lib.concatStringsSep "\n" (
      [ "[Unit]" ]
      ++ lines (
        { Description = service.description; } // lib.mapAttrs (_: toString) named // service.unitConfig
      )
      ++ [ "[Service]" ]
      ++ map (key: "Environment=${builtins.toJSON "${key}=${toString service.environment.${key}}"}") (
        lib.attrNames service.environment
      )
      ++ lines service.serviceConfig
      ++ [ "" ]
    );
}
