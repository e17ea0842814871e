# What the units of one host are told, and what they are kept from.
{ lib }:
let
  single = ../../../modules/presets/single-host.nix;
  all = ../../../modules;
  hardening = import ../../../modules/lib/hardening.nix { inherit lib; };
  roles = lib.attrNames (import ../../../modules/lib/catalogue.nix).roles;
  has = line: text: lib.elem line (lib.splitString "\n" text);
  service = host: role: host.config.systemd.services."flowkit-${role}";

  # Which named relaxations make a unit's settings what they are.
  allowed =
    host: role: names:
    let
      actual = (service host role).serviceConfig;
      expected = hardening.harden names;
    in
    builtins.all (key: actual.${key} == expected.${key}) (lib.attrNames expected);
in
{
  "one host, every role" = {
    modules = [
      single
      {
        services.flowkit.flowetl.enable = true;
        services.flowkit.autoflow.enable = true;
      }
    ];
    holds = host: {
      "a unit for each role, and one that makes secrets" =
        lib.attrNames host.units
        == lib.attrNames (lib.genAttrs (map (role: "flowkit-${role}") (roles ++ [ "secrets" ])) (_: 0));
      "each runs its role in its own directory" = builtins.all (
        role:
        let
          flowkit = "/nix/store/00000000000000000000000000000000-flowkit/bin/flowkit";
        in
        has "ExecStart=${flowkit} run ${role} --dir /var/lib/flowkit/${role}" host.units."flowkit-${role}"
        && has "StateDirectory=flowkit/${role}" host.units."flowkit-${role}"
      ) roles;
      "each is its own user" = builtins.all (
        role:
        has "User=flowkit-${role}" host.units."flowkit-${role}"
        && host.config.users.users."flowkit-${role}".isSystemUser
        && host.config.users.users."flowkit-${role}".group == "flowkit-${role}"
        && host.config.users.groups ? "flowkit-${role}"
      ) roles;
      "ready by notification, watched, stopped in order" = builtins.all (
        role:
        builtins.all (line: has line host.units."flowkit-${role}") [
          "Type=notify"
          "NotifyAccess=main"
          "WatchdogSec=60"
          "KillMode=mixed"
          "TimeoutStopSec=120"
          "Restart=on-failure"
        ]
      ) roles;
      "FlowMachine comes after whom it talks to" =
        has "After=network.target flowkit-flowdb.service flowkit-redis.service flowkit-secrets.service" host.units.flowkit-flowmachine
        && has "Wants=flowkit-flowdb.service flowkit-redis.service flowkit-secrets.service" host.units.flowkit-flowmachine;
      "FlowAPI comes last" =
        has "After=network.target flowkit-flowmachine.service flowkit-flowdb.service flowkit-secrets.service" host.units.flowkit-flowapi;
      "programs are store paths" =
        has ''Environment="FLOWKIT_POSTGRES_BIN=/nix/store/00000000000000000000000000000000-postgresql/bin"'' host.units.flowkit-flowdb
        && has ''Environment="FLOWKIT_REDIS_SERVER=/nix/store/00000000000000000000000000000000-redis/bin/redis-server"'' host.units.flowkit-redis
        && has ''Environment="FLOWKIT_PYTHON=/nix/store/00000000000000000000000000000000-flowmachine/bin/python"'' host.units.flowkit-flowmachine
        && has ''Environment="FLOWKIT_FLOWAPI_SERVER=/nix/store/00000000000000000000000000000000-flowapi/bin/flowapi"'' host.units.flowkit-flowapi
        && has ''Environment="FLOWKIT_FLOWAUTH_SERVER=/nix/store/00000000000000000000000000000000-flowauth/bin/flowauth"'' host.units.flowkit-flowauth
        && has ''Environment="FLOWKIT_POSTGRES_BIN=/nix/store/00000000000000000000000000000000-plain-postgresql/bin"'' host.units.flowkit-flowauth
        && has ''Environment="FLOWKIT_FLOWETL_PYTHON=/nix/store/00000000000000000000000000000000-flowetl/bin/python"'' host.units.flowkit-flowetl
        && has ''Environment="FLOWKIT_POSTGRES_BIN=/nix/store/00000000000000000000000000000000-plain-postgresql/bin"'' host.units.flowkit-flowetl
        && has ''Environment="FLOWKIT_AUTOFLOW_SERVER=/nix/store/00000000000000000000000000000000-autoflow/bin/autoflow"'' host.units.flowkit-autoflow
        && has ''Environment="FLOWKIT_AUTOFLOW_PYTHON=/nix/store/00000000000000000000000000000000-notebooks/bin/python"'' host.units.flowkit-autoflow;
      "AutoFlow comes after FlowAPI, whose address and certificate it has" =
        has "After=network.target flowkit-flowapi.service flowkit-secrets.service" host.units.flowkit-autoflow
        && has ''Environment="FLOWAPI_URL=https://127.0.0.1:9090"'' host.units.flowkit-autoflow
        && has "LoadCredential=cert-flowkit.pem:/var/lib/flowkit/secrets/cert-flowkit.pem" host.units.flowkit-autoflow;
      "FlowETL comes after FlowDB" =
        has "After=network.target flowkit-flowdb.service flowkit-secrets.service" host.units.flowkit-flowetl;
      "FlowAPI and FlowAuth are told of each other, and wait for nobody because of it" =
        has ''Environment="FLOWKIT_FLOWAPI_REVOCATIONS_URL=https://127.0.0.1:9091/revocations"'' host.units.flowkit-flowapi
        && has ''Environment="FLOWKIT_FLOWAUTH_FLOWAPI_URL=https://127.0.0.1:9090"'' host.units.flowkit-flowauth
        && has "After=network.target flowkit-secrets.service" host.units.flowkit-flowauth;
      "nothing but this host is reached" = builtins.all (
        role:
        has "IPAddressDeny=any" host.units."flowkit-${role}"
        && has "IPAddressAllow=localhost" host.units."flowkit-${role}"
      ) roles;
      "the firewall stays closed" = host.config.networking.firewall.allowedTCPPorts == [ ];
      "the units wait for the check of their settings" = builtins.all (
        role:
        map (it: it.name) (service host role).restartTriggers == [ "flowkit-${role}-settings" ]
        &&
          builtins.match ".*flowkit check-config ${role} .*" (
            lib.replaceStrings [ "\n" ] [ " " ] (lib.head (service host role).restartTriggers).command
          ) != null
      ) roles;
    };
  };

  "FlowETL and AutoFlow run where they are asked for" = {
    modules = [ single ];
    holds = host: {
      "the preset leaves them out" = !(host.units ? flowkit-flowetl) && !(host.units ? flowkit-autoflow);
    };
  };

  "AutoFlow reads workflows of the configuration, and FlowAPI elsewhere" = {
    modules = [
      all
      {
        services.flowkit.secretsDir = "/run/keys";
        services.flowkit.autoflow = {
          enable = true;
          directories.AUTOFLOW_INPUTS_DIR = "/nix/store/00000000000000000000000000000000-workflows";
          directories.AUTOFLOW_OUTPUTS_DIR = "/srv/reports";
          settings.FLOWAPI_URL = "https://flowapi.example.org:9090";
          settings.FLOWKIT_AUTOFLOW_FLOWAUTH_URL = "https://flowauth.example.org:9091";
          secrets.FLOWKIT_AUTOFLOW_FLOWAUTH_KEY = "/run/keys/autoflow";
        };
      }
    ];
    holds = host: {
      # What stands for a file that is not there is as much as none to the program: a key alone will do.
      "it has a key, and a token only if there is one" =
        has "LoadCredential=FLOWKIT_AUTOFLOW_FLOWAUTH_KEY:/run/keys/autoflow" host.units.flowkit-autoflow
        && has "LoadCredential=FLOWAPI_TOKEN:/run/keys/FLOWAPI_TOKEN" host.units.flowkit-autoflow
        && has "SetCredential=FLOWAPI_TOKEN:\\n" host.units.flowkit-autoflow;
      "workflows are where they are" =
        has ''Environment="AUTOFLOW_INPUTS_DIR=/nix/store/00000000000000000000000000000000-workflows"'' host.units.flowkit-autoflow;
      "reports go where it may write" =
        has "ReadWritePaths=/srv/reports" host.units.flowkit-autoflow
        && has ''Environment="AUTOFLOW_OUTPUTS_DIR=/srv/reports"'' host.units.flowkit-autoflow;
      "FlowAPI is reached" = !(has "IPAddressDeny=any" host.units.flowkit-autoflow);
    };
  };

  "FlowETL reads DAG files of the configuration, and any variable as a secret" = {
    modules = [
      single
      {
        services.flowkit.flowetl = {
          enable = true;
          directories.FLOWETL_HOST_DAG_DIR = "/nix/store/00000000000000000000000000000000-dags";
          settings.AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY = 8;
          secrets.AIRFLOW_CONN_SFTP = "/run/keys/sftp";
        };
      }
    ];
    holds = host: {
      "DAG files are where they are" =
        has ''Environment="AIRFLOW__CORE__DAGS_FOLDER=/nix/store/00000000000000000000000000000000-dags"'' host.units.flowkit-flowetl;
      "any setting of Airflow's" =
        has ''Environment="AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY=8"'' host.units.flowkit-flowetl;
      "the variable is a credential, and of this unit alone" =
        has "LoadCredential=AIRFLOW_CONN_SFTP:/run/keys/sftp" host.units.flowkit-flowetl
        && !(has "LoadCredential=AIRFLOW_CONN_SFTP:/run/keys/sftp" host.units.flowkit-flowdb);
      "no secret of Celery's, which is not there" =
        !(lib.hasInfix "FLOWETL_REDIS_PASSWORD" host.units.flowkit-flowetl);
    };
  };

  "FlowETL's workers on a host of their own" = {
    modules = [
      all
      {
        services.flowkit = {
          secretsDir = "/run/keys/flowkit";
          flowetl = {
            enable = true;
            components = [ "worker" ];
            settings = {
              AIRFLOW__CORE__EXECUTOR = "CeleryExecutor";
              FLOWDB_HOST = "10.0.0.4";
              FLOWKIT_FLOWETL_HOST = "10.0.0.5";
            };
            secrets.AIRFLOW_CONN_SFTP = "/run/keys/sftp";
          };
        };
      }
    ];
    holds = host: {
      "it runs them alone" =
        lib.hasInfix "run flowetl --dir /var/lib/flowkit/flowetl --component worker" host.units.flowkit-flowetl;
      "with the secrets that they need" =
        has "LoadCredential=FLOWETL_REDIS_PASSWORD:/run/keys/flowkit/FLOWETL_REDIS_PASSWORD" host.units.flowkit-flowetl
        && has "LoadCredential=AIRFLOW_CONN_FLOWDB:/run/keys/flowkit/AIRFLOW_CONN_FLOWDB" host.units.flowkit-flowetl
        && has "LoadCredential=AIRFLOW_CONN_SFTP:/run/keys/sftp" host.units.flowkit-flowetl;
      "and no others" = !(lib.hasInfix "AIRFLOW__CORE__FERNET_KEY" host.units.flowkit-flowetl);
      "it reaches other hosts" = !(has "IPAddressDeny=any" host.units.flowkit-flowetl);
    };
  };

  "hardening, and what each role is given back" = {
    modules = [
      single
      {
        services.flowkit.flowetl.enable = true;
        services.flowkit.autoflow.enable = true;
      }
    ];
    holds = host: {
      "FlowDB looks at the machine" = allowed host "flowdb" [ "machine" ];
      "so does FlowETL, which also sees that its tasks are there" = allowed host "flowetl" [
        "machine"
        "processes"
      ];
      "redis nothing" = allowed host "redis" [ ];
      "nor FlowAPI" = allowed host "flowapi" [ ];
      "nor FlowAuth" = allowed host "flowauth" [ ];
      "FlowMachine sees interfaces and may say how its threads are scheduled" =
        allowed host "flowmachine"
          [
            "netlink"
            "scheduling"
          ];
      "so do AutoFlow's kernels" = allowed host "autoflow" [
        "netlink"
        "scheduling"
      ];
      "secrets are made by a unit that can do nothing else" = allowed host "secrets" [ ];
    };
  };

  "FlowDB may write code when it is to compile queries" = {
    modules = [
      single
      { services.flowkit.flowdb.settings.NO_USE_JIT = false; }
    ];
    holds = host: {
      "a relaxation for it" = allowed host "flowdb" [
        "machine"
        "jit"
      ];
    };
  };

  "a setting of one role reaches those that use it" = {
    modules = [
      single
      {
        services.flowkit.flowdb.settings.FLOWDB_PORT = 9100;
        services.flowkit.flowdb.settings.FLOWKIT_STOP_SECONDS = 300;
        services.flowkit.redis.settings.REDIS_PORT = 6400;
      }
    ];
    holds = host: {
      "ports" =
        has ''Environment="FLOWDB_PORT=9100"'' host.units.flowkit-flowmachine
        && has ''Environment="REDIS_PORT=6400"'' host.units.flowkit-flowmachine
        && has ''Environment="FLOWDB_PORT=9100"'' host.units.flowkit-flowdb
        && has ''Environment="FLOWDB_PORT=9100"'' host.units.flowkit-secrets;
      "systemd allows the time that the roles are told" =
        has "TimeoutStopSec=320" host.units.flowkit-flowdb
        && has "TimeoutStopSec=320" host.units.flowkit-redis;
      "what was not given is not said" =
        !(host.config.systemd.services.flowkit-flowdb.environment ? FLOWDB_TOTAL_MEMORY);
    };
  };

  "values are written as systemd reads them" = {
    modules = [
      all
      {
        services.flowkit.makeSecrets = true;
        services.flowkit.flowdb = {
          enable = true;
          settings = {
            LOCATION_TABLE = ''a "b" 100%'';
            CACHE_SIZE = "10GB";
            CACHE_HALF_LIFE = 12.5;
            NO_USE_JIT = false;
            MAX_CPUS = 4;
          };
        };
      }
    ];
    holds = host: {
      "quotes, per cent signs" =
        has ''Environment="LOCATION_TABLE=a \"b\" 100%%"'' host.units.flowkit-flowdb;
      "numbers, flags, sizes" = builtins.all (line: has line host.units.flowkit-flowdb) [
        ''Environment="CACHE_SIZE=10GB"''
        ''Environment="CACHE_HALF_LIFE=12.500000"''
        ''Environment="NO_USE_JIT=false"''
        ''Environment="MAX_CPUS=4"''
      ];
    };
  };

  "directories of the host" = {
    modules = [
      single
      {
        services.flowkit.flowdb.directories = {
          FLOWDB_DATA_DIR = "/srv/flowdb";
          FLOWDB_ETL_DIR = "/srv/cdr";
        };
      }
    ];
    holds = host: {
      "the role is told, and may write there" =
        has ''Environment="FLOWKIT_FLOWDB_DATA=/srv/flowdb"'' host.units.flowkit-flowdb
        && has "ReadWritePaths=/srv/flowdb" host.units.flowkit-flowdb
        &&
          host.config.systemd.tmpfiles.settings."10-flowkit-flowdb"."/srv/flowdb".d.user == "flowkit-flowdb";
      "files to load are where a container has them" =
        has "BindReadOnlyPaths=/srv/cdr:/etl" host.units.flowkit-flowdb;
      "it waits for their disks" = has "RequiresMountsFor=/srv/flowdb" host.units.flowkit-flowdb;
      "nobody else has anything to do with them" =
        !(has "ReadWritePaths=/srv/flowdb" host.units.flowkit-redis);
    };
  };

  "nothing enabled is nothing done" = {
    modules = [ all ];
    holds = host: {
      "no unit" = host.units == { };
      "no user" = host.config.users.users == { };
      "no program" = host.config.environment.systemPackages == [ ];
    };
  };

  "a role's file can be imported alone" = {
    modules = [
      ../../../modules/redis.nix
      {
        services.flowkit.redis.enable = true;
        services.flowkit.makeSecrets = true;
      }
    ];
    holds = host: {
      "its unit is there" = host.units ? flowkit-redis;
    };
  };

  "every role that can be run has a module" = {
    modules = [ ];
    holds = _: {
      "a file for each" = builtins.all (
        role: builtins.pathExists (../../../modules + "/${role}.nix")
      ) roles;
    };
  };
}
