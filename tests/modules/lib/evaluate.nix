# A host with our modules, evaluated with nothing but a `lib`: its configuration, what it says is wrong, its unit files.
{ lib }:
let
  # Packages by name only: what is looked at is what is made of them.
  package = name: {
    type = "derivation";
    inherit name;
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
    meta.mainProgram = name;
  };
  pkgs = {
    stdenv = {
      hostPlatform.system = "x86_64-linux";
      buildPlatform.canExecute = _: true;
    };
    writeText = name: text: package name // { inherit text; };
    runCommand = name: _: command: package name // { inherit command; };
    callPackage = file: _: package (baseNameOf (dirOf file));
    redis = package "redis";
  };
  packages = lib.genAttrs [ "flowkit" "postgresql" "redis" "flowmachine" ] package;
  stub = import ./stub.nix { inherit lib pkgs; };
in
rec {
  evaluated =
    modules:
    lib.evalModules {
      class = "nixos";
      modules = [
        stub
        { services.flowkit = { inherit packages; }; }
      ] ++ modules;
    };

  host =
    modules:
    let
      inherit (evaluated modules) config options;
    in
    {
      inherit config options;
      failed = map (it: it.message) (lib.filter (it: !it.assertion) config.assertions);
      inherit (config) warnings;
      units = lib.mapAttrs (_: unit) config.systemd.services;
    };

  # As nixos/lib/systemd-lib.nix writes it.
  unit =
    service:
    let
      value = it: if builtins.isBool it then builtins.toJSON it else toString it;
      lines =
        section:
        lib.concatMap (key: map (it: "${key}=${value it}") (lib.flatten [ section.${key} ])) (lib.attrNames section);
      named = lib.filterAttrs (_: units: units != [ ]) {
        After = service.after;
        Before = service.before;
        Requires = service.requires;
        Wants = service.wants;
      };
    in
    lib.concatStringsSep "\n" (
      [ "[Unit]" ]
      ++ lines ({ Description = service.description; } // lib.mapAttrs (_: toString) named // service.unitConfig)
      ++ [ "[Service]" ]
      ++ map (key: "Environment=${builtins.toJSON "${key}=${toString service.environment.${key}}"}") (
        lib.attrNames service.environment
      )
      ++ lines service.serviceConfig
      ++ [ "" ]
    );
}
