# What FlowKit is made of, out of whatever package set it is given.
{ pkgs }:
let
  packages = {
    # Ours: the operator's command and the supervisor.
    flowkit = pkgs.callPackage ./program.nix { program = "flowkit"; };
    # The HTTPS front of FlowMachine.
    flowapi = pkgs.callPackage ./program.nix { program = "flowapi"; };
    # Scheduled notebooks.
    autoflow = pkgs.callPackage ./program.nix { program = "autoflow"; };
    # Users, roles and tokens.
    flowauth = pkgs.callPackage ./program.nix { program = "flowauth"; };
    # FlowDB's server: PostgreSQL 17 with the extensions that FlowKit's schema uses.
    postgresql = import ./postgresql.nix { inherit (pkgs) postgresql_17; };
    # The server of a small database that belongs to one role alone. Of the same major version: one to keep up with.
    plain-postgresql = pkgs.postgresql_17;
    # FlowMachine: a Python interpreter that has it.
    flowmachine = pkgs.callPackage ./flowmachine.nix { };
    # FlowETL: one that has it, and Apache Airflow.
    flowetl = pkgs.callPackage ./flowetl.nix { };
    # AutoFlow's notebooks: one that has what runs them.
    notebooks = pkgs.callPackage ./notebooks.nix { };
    # Nobody asks it to tell systemd anything; libsystemd would bring a shell and half a system.
    redis = pkgs.redis.override { withSystemd = false; };
    # `flowkit up` with all of these.
    up = pkgs.callPackage ./up.nix { inherit packages; };
  };
in
packages
