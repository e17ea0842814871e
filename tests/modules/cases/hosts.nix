# Roles on several hosts.
{ lib }:
let
  all = ../../../modules;
  has = line: text: lib.elem line (lib.splitString "\n" text);
  secrets = {
    FLOWMACHINE_FLOWDB_PASSWORD = "/run/keys/FLOWMACHINE_FLOWDB_PASSWORD";
    REDIS_PASSWORD = "/run/keys/REDIS_PASSWORD";
  };
  # A host with some of FlowETL's components, whose firewall lets others in.
  flowetl = components: settings: [
    all
    {
      services.flowkit = {
        secretsDir = "/run/keys/flowkit";
        flowetl = {
          enable = true;
          inherit components;
          openFirewall = true;
          settings = {
            AIRFLOW__CORE__EXECUTOR = "CeleryExecutor";
          }
          // settings;
        };
      };
    }
  ];
  opened = host: host.config.networking.firewall.allowedTCPPorts;
in
{
  "two hosts: the databases" = {
    modules = [
      all
      ../examples/databases.nix
    ];
    holds = host: {
      "their units, and no other" =
        lib.attrNames host.units == [
          "flowkit-flowdb"
          "flowkit-redis"
          "flowkit-secrets"
        ];
      "reached from the other host, and from nowhere else" =
        host.config.networking.firewall.allowedTCPPorts == [
          6379
          9000
        ]
        && has "IPAddressAllow=10.0.0.0/24" host.units.flowkit-flowdb
        && has "IPAddressDeny=any" host.units.flowkit-flowdb;
      "an address of the network may come late" =
        has "Wants=flowkit-secrets.service network-online.target" host.units.flowkit-flowdb;
    };
  };

  "two hosts: FlowMachine" = {
    modules = [
      all
      ../examples/flowmachine.nix
    ];
    holds = host: {
      "its unit, and no other" = lib.attrNames host.units == [ "flowkit-flowmachine" ];
      "it knows where the databases are" =
        has ''Environment="FLOWDB_HOST=10.0.0.5"'' host.units.flowkit-flowmachine
        && has ''Environment="REDIS_HOST=10.0.0.5"'' host.units.flowkit-flowmachine
        && has ''Environment="FLOWDB_PORT=9000"'' host.units.flowkit-flowmachine;
      "its packets are not filtered unless addresses are given" =
        !(has "IPAddressDeny=any" host.units.flowkit-flowmachine);
      "it waits for the network, and for no unit of this host" =
        has "Wants=network-online.target" host.units.flowkit-flowmachine;
    };
  };

  "the same, importing one file" = {
    modules = [
      ../../../modules/flowmachine.nix
      ../examples/flowmachine.nix
    ];
    holds = host: { "its unit is there" = host.units ? flowkit-flowmachine; };
  };

  "a tunnel may end at localhost" = {
    modules = [
      all
      {
        services.flowkit.flowmachine = {
          enable = true;
          inherit secrets;
          settings.FLOWDB_HOST = "localhost";
          settings.REDIS_HOST = "127.0.0.1";
        };
      }
    ];
    holds = host: {
      "and then nothing else is reached" = has "IPAddressAllow=localhost" host.units.flowkit-flowmachine;
    };
  };

  "FlowMachine without a FlowDB" = {
    modules = [
      all
      {
        services.flowkit.redis.enable = true;
        services.flowkit.secretsDir = "/run/keys";
        services.flowkit.flowmachine.enable = true;
      }
    ];
    says = [
      "FlowDB does not run on this host"
      "services.flowkit.flowmachine.settings.FLOWDB_HOST"
      "services.flowkit.flowdb.enable"
    ];
  };

  "a database that does not hear its own host" = {
    modules = [
      ../../../modules/presets/single-host.nix
      {
        services.flowkit.flowdb.settings.FLOWKIT_FLOWDB_LISTEN = "10.0.0.5";
        services.flowkit.flowapi.enable = false;
        services.flowkit.flowauth.enable = false;
      }
    ];
    says = [
      "services.flowkit.flowmachine would look for FlowDB at localhost"
      "listens on 10.0.0.5 only"
      ''services.flowkit.flowdb.settings.FLOWDB_HOST = "10.0.0.5"''
    ];
  };

  "a database that others reach too" = {
    modules = [
      ../../../modules/presets/single-host.nix
      {
        services.flowkit.flowdb.settings.FLOWKIT_FLOWDB_LISTEN = "10.0.0.5";
        services.flowkit.flowdb.settings.FLOWDB_HOST = "10.0.0.5";
        services.flowkit.redis.settings.FLOWKIT_REDIS_LISTEN = "0.0.0.0";
      }
    ];
    holds = host: {
      "FlowMachine is told where" =
        has ''Environment="FLOWDB_HOST=10.0.0.5"'' host.units.flowkit-flowmachine;
    };
  };

  "FlowMachine in a private network" = {
    modules = [
      ../../../modules/presets/single-host.nix
      {
        services.flowkit.flowmachine.settings.FLOWKIT_FLOWMACHINE_LISTEN = "100.101.2.3";
        services.flowkit.flowmachine.settings.FLOWMACHINE_HOST = "100.101.2.3";
        services.flowkit.flowmachine.openFirewall = true;
      }
    ];
    holds = host: {
      "others reach it" = host.config.networking.firewall.allowedTCPPorts == [ 5555 ];
      "and so does FlowAPI" =
        has ''Environment="FLOWMACHINE_HOST=100.101.2.3"'' host.units.flowkit-flowapi
        && !(has "IPAddressDeny=any" host.units.flowkit-flowapi);
    };
  };

  "two roles on one port" = {
    modules = [
      ../../../modules/presets/single-host.nix
      {
        services.flowkit.redis.settings.REDIS_PORT = 9000;
        services.flowkit.redis.settings.FLOWKIT_REDIS_LISTEN = "0.0.0.0";
      }
    ];
    says = [
      "services.flowkit.flowdb.settings.FLOWDB_PORT and services.flowkit.redis.settings.REDIS_PORT are both 9000"
    ];
  };

  "one port at two addresses" = {
    modules = [
      ../../../modules/presets/single-host.nix
      {
        services.flowkit.redis.settings.REDIS_PORT = 9000;
        services.flowkit.redis.settings.FLOWKIT_REDIS_LISTEN = "127.0.0.2";
      }
    ];
    holds = host: { "is two ports" = host.units ? flowkit-redis; };
  };

  "an open firewall before a closed door" = {
    modules = [
      ../../../modules/presets/single-host.nix
      { services.flowkit.redis.openFirewall = true; }
    ];
    warns = [
      "services.flowkit.redis.openFirewall opens port 6379"
      "FLOWKIT_REDIS_LISTEN"
    ];
  };

  "FlowETL's centre" = {
    modules = flowetl [ "api-server" "scheduler" ] {
      FLOWKIT_FLOWETL_LISTEN = "10.0.0.5";
      FLOWKIT_FLOWETL_DB_LISTEN = "10.0.0.5";
      FLOWKIT_FLOWETL_REDIS_LISTEN = "10.0.0.5";
    };
    holds = host: {
      "is reached by the others, at pages, database and redis" =
        opened host == [
          6380
          8080
          9001
        ];
      "and exchanges packets with them" = !(has "IPAddressDeny=any" host.units.flowkit-flowetl);
    };
  };

  "FlowETL's centre, whose database and broker are elsewhere" = {
    modules = flowetl [ "api-server" ] { FLOWKIT_FLOWETL_LISTEN = "10.0.0.5"; };
    holds = host: { "has its pages alone" = opened host == [ 8080 ]; };
  };

  "FlowETL's workers" = {
    modules = flowetl [ "worker" ] {
      FLOWDB_HOST = "10.0.0.4";
      FLOWKIT_FLOWETL_HOST = "10.0.0.5";
    };
    holds = host: { "are asked for logs, and for nothing else" = opened host == [ 8793 ]; };
  };

  "FlowETL's workers without a FlowDB" = {
    modules = flowetl [ "worker" ] { FLOWKIT_FLOWETL_HOST = "10.0.0.5"; };
    says = [
      "FlowDB does not run on this host"
      "services.flowkit.flowetl.settings.FLOWDB_HOST"
    ];
  };

  "FlowETL's flower" = {
    modules = flowetl [ "flower" ] {
      FLOWKIT_FLOWETL_HOST = "10.0.0.5";
      FLOWKIT_FLOWETL_FLOWER_LISTEN = "10.0.0.6";
    };
    holds = host: { "need not know where FlowDB is" = opened host == [ 5556 ]; };
  };

  "FlowETL's scheduler" = {
    modules = flowetl [ "scheduler" "dag-processor" "triggerer" ] {
      FLOWKIT_FLOWETL_HOST = "10.0.0.5";
    };
    holds = host: { "nobody comes to it" = opened host == [ ]; };
  };

  "all of FlowETL, with Celery" = {
    modules = flowetl [ ] {
      FLOWDB_HOST = "10.0.0.4";
      FLOWKIT_FLOWETL_LISTEN = "10.0.0.5";
      FLOWKIT_FLOWETL_FLOWER_LISTEN = "10.0.0.5";
    };
    holds = host: {
      "keeps to itself what it has between its components" =
        opened host == [
          5556
          8080
        ];
    };
  };

  "FlowAuth outside" = {
    modules = [
      ../../../modules/presets/flowauth-outside.nix
      {
        services.flowkit.flowauth = {
          openFirewall = true;
          settings.FLOWKIT_FLOWAUTH_LISTEN = "0.0.0.0";
        };
      }
    ];
    holds = host: {
      "is all that runs" = !(host.units ? flowkit-flowapi) && host.units ? flowkit-flowauth;
      "is reached" = host.config.networking.firewall.allowedTCPPorts == [ 9091 ];
      "knows no FlowAPI, and has no secret of others" =
        !(lib.hasInfix "FLOWKIT_FLOWAUTH_FLOWAPI_URL" host.units.flowkit-flowauth)
        && !(lib.hasInfix "cert-flowkit.pem" host.units.flowkit-flowauth);
    };
  };

  "FlowDB with FlowETL" = {
    modules = [ ../../../modules/presets/flowdb-etl.nix ];
    holds = host: {
      "is these two" =
        lib.attrNames host.units == [
          "flowkit-flowdb"
          "flowkit-flowetl"
          "flowkit-secrets"
        ];
    };
  };

  "FlowMachine as a library" = {
    modules = [ ../../../modules/presets/library.nix ];
    holds = host: {
      "has nobody who asks for others" =
        lib.attrNames host.units == [
          "flowkit-flowdb"
          "flowkit-flowetl"
          "flowkit-redis"
          "flowkit-secrets"
        ];
    };
  };

  "complete FlowKit" = {
    modules = [ ../../../modules/presets/complete.nix ];
    holds =
      host:
      let
        autoflow = host.config.systemd.services.flowkit-autoflow;
      in
      {
        "is every role" = builtins.all (role: host.units ? "flowkit-${role}") (
          lib.attrNames (import ../../../modules/lib/catalogue.nix).roles
        );
        "AutoFlow has a workflow, and a key when it starts" =
          lib.hasSuffix "-autoflow" autoflow.environment.AUTOFLOW_INPUTS_DIR
          && lib.elem "flowkit-enrol.service" autoflow.after
          && has "LoadCredential=FLOWKIT_AUTOFLOW_FLOWAUTH_KEY:/var/lib/flowkit/secrets/FLOWKIT_AUTOFLOW_FLOWAUTH_KEY" host.units.flowkit-autoflow;
        "which is asked for where FlowAuth is" =
          has ''Environment="FLOWKIT_FLOWAUTH_PORT=9091"'' host.units.flowkit-enrol;
      };
  };

  "complete FlowKit with secrets from elsewhere" = {
    modules = [
      ../../../modules/presets/complete.nix
      {
        services.flowkit.makeSecrets = false;
        services.flowkit.secretsDir = "/run/keys/flowkit";
      }
    ];
    holds = host: { "makes no key by itself" = !(host.units ? flowkit-enrol); };
  };

  "FlowAuth behind a proxy" = {
    modules = [
      ../../../modules/presets/single-host.nix
      { services.flowkit.flowauth.settings.FLOWKIT_FLOWAUTH_PLAIN_HTTP = true; }
    ];
    holds = host: {
      "is asked by nobody over HTTPS" =
        !(lib.hasInfix "FLOWKIT_FLOWAPI_REVOCATIONS_URL" host.units.flowkit-flowapi);
    };
  };
}
