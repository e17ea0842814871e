# What all roles of a host share: packages, where secrets are, and the unit that makes them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  make = import ./options.nix { inherit lib; };
  hardening = import ./hardening.nix { inherit lib; };
  cfg = config.services.flowkit;
  running = lib.attrValues cfg.running;
  anything = running != [ ];

  # Two roles on one port: the later one would not start.
  ports = lib.concatMap (
    role:
    map (
      port: port // { option = "services.flowkit.${role}.settings.${port.setting}"; }
    ) cfg.running.${role}.ports
  ) (lib.attrNames cfg.running);
  everywhere = address: address == "0.0.0.0" || address == "::";
  meet =
    a: b: a.number == b.number && (a.listen == b.listen || everywhere a.listen || everywhere b.listen);
  collisions = lib.concatMap (
    a: map (b: { inherit a b; }) (lib.filter (b: a.option < b.option && meet a b) ports)
  ) ports;
in
{
  options.services.flowkit = {
    package = lib.mkPackageOption cfg.packages "flowkit" {
      pkgsText = "config.services.flowkit.packages";
      example = "inputs.flowkit.packages.\${pkgs.stdenv.hostPlatform.system}.flowkit";
      extraDescription = "It runs all roles.";
    };

    packages = lib.mkOption {
      type = lib.types.lazyAttrsOf lib.types.package;
      default = { };
      defaultText = lib.literalMD "made from this host's package set";
      apply = given: import ../../packages { inherit pkgs; } // given;
      example = lib.literalExpression "{ redis = pkgs.valkey; }";
      description = ''
        What FlowKit is made of: `flowkit`, `postgresql` (FlowDB's, with its extensions), `plain-postgresql` (FlowAuth's and FlowETL's),
        `redis`, `flowmachine`, `flowetl` and `notebooks` (Python interpreters that have them), `flowapi`, `flowauth` and `autoflow`. What is not given is made from this host's package set.
      '';
    };

    secretsDir = lib.mkOption {
      type = lib.types.nullOr make.secretPath;
      default = if cfg.makeSecrets then "/var/lib/flowkit/secrets" else null;
      defaultText = lib.literalExpression ''if config.services.flowkit.makeSecrets then "/var/lib/flowkit/secrets" else null'';
      example = "/run/keys/flowkit";
      description = ''
        Directory with the secrets of all roles of this host, each in a file of its name. Only root needs to be able to
        read it: systemd hands every role its own.
      '';
    };

    makeSecrets = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = ''
        Whether to make secrets that are missing in `secretsDir` before the roles start (`flowkit secrets init`). They are
        made on the host itself and never leave it; copy them to a safe place.
      '';
    };

    checkSettings = lib.mkOption {
      type = lib.types.bool;
      default = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
      defaultText = lib.literalMD "`true`, unless the configuration is cross-compiled for a processor whose programs the building machine can't run";
      example = false;
      description = ''
        Whether the build of a configuration fails when a setting is wrong. Without it the role itself refuses to start and
        says the same.
      '';
    };

    running = lib.mkOption {
      type = lib.types.attrsOf lib.types.raw;
      internal = true;
      default = { };
      description = "What the roles of this host tell each other.";
    };
  };

  config = lib.mkIf anything {
    assertions = map (collision: {
      assertion = false;
      message = "${collision.a.option} and ${collision.b.option} are both ${toString collision.a.number}: give one of them another port.";
    }) collisions;

    warnings =
      lib.optional (!cfg.checkSettings)
        "services.flowkit: settings are not checked in this build; a wrong one is reported by its unit at start.";

    environment.systemPackages = [ cfg.package ];

    systemd.services.flowkit-secrets = lib.mkIf cfg.makeSecrets {
      description = "Secrets of FlowKit's roles";
      # Connection strings among the secrets hold hosts and ports.
      environment = lib.foldl' (all: role: all // role.addresses) { } running;
      unitConfig.RequiresMountsFor = [ cfg.secretsDir ];
      serviceConfig =
        hardening.harden [ ]
        // hardening.network [ ]
        // {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${lib.getExe' cfg.package "flowkit"} secrets init --dir ${cfg.secretsDir} ${
            lib.concatMapStringsSep " " (role: "--role ${role}") (lib.attrNames cfg.running)
          }";
          ReadWritePaths = [ cfg.secretsDir ];
        };
    };
    systemd.tmpfiles.settings = lib.mkIf cfg.makeSecrets {
      "10-flowkit-secrets".${cfg.secretsDir}.d = {
        user = "root";
        group = "root";
        mode = "0700";
      };
    };
  };
}
