# Where secrets come from, and where they must not be.
{ lib }:
let
  all = ../../../modules;
  single = ../../../modules/presets/single-host.nix;
  catalogue = import ../../../modules/lib/catalogue.nix;
  has = line: text: lib.elem line (lib.splitString "\n" text);
  spellings = lib.concatMap catalogue.spellings (lib.attrValues catalogue.secrets);

  # What sops-nix, agenix and systemd give as `path`.
  loads =
    path:
    let
      line = "LoadCredential=REDIS_PASSWORD:${path}";
    in
    host: { "systemd loads it from there" = has line host.units.flowkit-redis; };
in
{
  "secrets that are made" = {
    modules = [ single ];
    holds = host: {
      "before the roles start, for them" =
        builtins.all
          (role: lib.elem "flowkit-secrets.service" host.config.systemd.services."flowkit-${role}".after)
          [
            "flowapi"
            "flowauth"
            "flowdb"
            "flowmachine"
            "redis"
          ]
        &&
          builtins.match
            ".*secrets init --dir /var/lib/flowkit/secrets --role flowapi --role flowauth --role flowdb --role flowmachine --role redis.*"
            (lib.replaceStrings [ "\n" ] [ " " ] host.units.flowkit-secrets) != null;
      "in a directory that only root reads" =
        host.config.systemd.tmpfiles.settings."10-flowkit-secrets"."/var/lib/flowkit/secrets".d.mode
        == "0700";
      "each role gets what it uses, and no more" =
        has "LoadCredential=REDIS_PASSWORD:/var/lib/flowkit/secrets/REDIS_PASSWORD" host.units.flowkit-redis
        && has "LoadCredential=REDIS_PASSWORD:/var/lib/flowkit/secrets/REDIS_PASSWORD" host.units.flowkit-flowmachine
        && builtins.length host.config.systemd.services.flowkit-redis.serviceConfig.LoadCredential == 1
        &&
          builtins.length host.config.systemd.services.flowkit-flowmachine.serviceConfig.LoadCredential == 3
        && builtins.length host.config.systemd.services.flowkit-flowdb.serviceConfig.LoadCredential == 5
        && builtins.length host.config.systemd.services.flowkit-flowapi.serviceConfig.LoadCredential == 7
        && has "LoadCredential=cert-flowauth.pem:/var/lib/flowkit/secrets/cert-flowauth.pem" host.units.flowkit-flowapi
        && has "LoadCredential=PUBLIC_JWT_SIGNING_KEY:/var/lib/flowkit/secrets/PUBLIC_JWT_SIGNING_KEY" host.units.flowkit-flowapi;
      "a name has its usual value without a file, a password none" =
        has "SetCredential=FLOWMACHINE_FLOWDB_USER:flowkit_flowmachine" host.units.flowkit-flowmachine
        && has "SetCredential=REDIS_PASSWORD:\\n" host.units.flowkit-redis;
    };
  };

  "secrets are in no unit and in no file of settings" = {
    modules = [ single ];
    holds = host: {
      "no variable is a secret" = builtins.all (
        service:
        builtins.all (
          name: !(service.environment ? ${name} || service.environment ? "${name}_FILE")
        ) spellings
      ) (lib.attrValues host.config.systemd.services);
      "no secret is looked for in the store" = builtins.all (
        service:
        builtins.all (it: builtins.match "[^:]*:/nix/store.*" it == null) (
          service.serviceConfig.LoadCredential or [ ]
        )
      ) (lib.attrValues host.config.systemd.services);
    };
  };

  "a directory of one's own" = {
    modules = [
      all
      {
        services.flowkit.secretsDir = "/run/keys/flowkit";
        services.flowkit.redis.enable = true;
      }
    ];
    holds =
      host:
      loads "/run/keys/flowkit/REDIS_PASSWORD" host
      // {
        "nothing is made" = !(host.units ? flowkit-secrets);
      };
  };

  "a role's own directory, and one secret elsewhere" = {
    modules = [
      all
      {
        services.flowkit.flowdb = {
          enable = true;
          secretsDir = "/run/keys/flowdb";
          secrets.FLOWDB_POSTGRES_PASSWORD = "/run/keys/other";
        };
      }
    ];
    holds = host: {
      "both" =
        has "LoadCredential=FLOWDB_POSTGRES_PASSWORD:/run/keys/other" host.units.flowkit-flowdb
        && has "LoadCredential=FLOWAPI_FLOWDB_PASSWORD:/run/keys/flowdb/FLOWAPI_FLOWDB_PASSWORD" host.units.flowkit-flowdb;
    };
  };

  "sops-nix" = {
    modules = [
      all
      (import ../examples/sops.nix {
        config.sops.secrets.redis-password.path = "/run/secrets/redis-password";
      })
    ];
    holds = loads "/run/secrets/redis-password";
  };

  "agenix" = {
    modules = [
      all
      (import ../examples/agenix.nix {
        config.age.secrets.redis-password.path = "/run/agenix/redis-password";
      })
    ];
    holds = loads "/run/agenix/redis-password";
  };

  "systemd-creds" = {
    modules = [
      all
      ../examples/systemd-creds.nix
    ];
    holds = host: {
      "systemd decrypts it" =
        has "LoadCredentialEncrypted=REDIS_PASSWORD:/etc/credstore.encrypted/REDIS_PASSWORD" host.units.flowkit-redis;
      "and loads no other" =
        host.config.systemd.services.flowkit-redis.serviceConfig.LoadCredential == [ ];
    };
  };

  "neither given nor made" = {
    modules = [
      all
      { services.flowkit.redis.enable = true; }
    ];
    says = [
      "services.flowkit.redis has no files for its secrets REDIS_PASSWORD"
      "services.flowkit.makeSecrets = true"
      "services.flowkit.secretsDir"
      "services.flowkit.redis.secrets.REDIS_PASSWORD"
    ];
  };

  "made anew where another host has them" = {
    modules = [
      all
      {
        services.flowkit.makeSecrets = true;
        services.flowkit.flowmachine = {
          enable = true;
          settings.FLOWDB_HOST = "10.0.0.5";
          settings.REDIS_HOST = "10.0.0.5";
        };
      }
    ];
    says = [
      "would make new FLOWMACHINE_FLOWDB_PASSWORD, REDIS_PASSWORD"
      "FlowDB, redis on another host"
      "services.flowkit.flowmachine.secrets.FLOWMACHINE_FLOWDB_PASSWORD"
    ];
  };

  "a secret among the settings" = {
    modules = [
      single
      { services.flowkit.redis.settings.REDIS_PASSWORD = "hunter2"; }
    ];
    says = [
      "services.flowkit.redis.settings.REDIS_PASSWORD is a secret"
      "services.flowkit.redis.secrets.REDIS_PASSWORD"
    ];
  };

  "a secret among the settings, by another spelling" = {
    modules = [
      single
      { services.flowkit.flowdb.settings.POSTGRES_PASSWORD = "hunter2"; }
    ];
    says = [
      "services.flowkit.flowdb.settings.POSTGRES_PASSWORD is a secret"
      "services.flowkit.flowdb.secrets.FLOWDB_POSTGRES_PASSWORD"
    ];
  };

  "a secret in the store" = {
    modules = [
      single
      {
        services.flowkit.redis.secrets.REDIS_PASSWORD =
          "/nix/store/00000000000000000000000000000000-password";
      }
    ];
    refused = "absolute path not in the Nix store";
  };

  "a secret that would be copied to the store" = {
    modules = [
      single
      { services.flowkit.redis.secrets.REDIS_PASSWORD = ./secrets.nix; }
    ];
    refused = "absolute path not in the Nix store";
  };

  "a directory of secrets in the store" = {
    modules = [
      single
      { services.flowkit.secretsDir = "/nix/store/00000000000000000000000000000000-secrets"; }
    ];
    refused = "absolute path not in the Nix store";
  };

  "a secret instead of its path" = {
    modules = [
      single
      { services.flowkit.redis.secrets.REDIS_PASSWORD = "hunter2"; }
    ];
    refused = "absolute path not in the Nix store";
  };

  "a secret that the role does not use" = {
    modules = [
      single
      { services.flowkit.redis.secrets.FLOWDB_POSTGRES_PASSWORD = "/run/keys/x"; }
    ];
    refused = "does not exist";
  };
}
