# A wrong setting fails the build: the derivation that a unit depends on, built with good settings, and what it runs, tried
# with wrong ones.
{ pkgs, packages }:
let
  inherit (pkgs) lib;
  roles = lib.attrNames (import ../../modules/lib/catalogue.nix).roles;
  evaluate = import ./lib/evaluate.nix { inherit lib pkgs packages; };
  units =
    modules:
    (evaluate.host (
      [
        ../../modules/presets/single-host.nix
        {
          services.flowkit.flowetl.enable = true;
          services.flowkit.autoflow.enable = true;
        }
      ]
      ++ modules
    )).config.systemd.services;
  checked = modules: role: (units modules)."flowkit-${role}".restartTriggers;

  # Every option's example: what the reference shows is accepted.
  shown =
    role:
    let
      options = lib.filterAttrs (_: option: option ? example) (
        (evaluate.evaluated [ ../../modules ]).options.services.flowkit.${role}.settings.type.getSubOptions
          [ ]
      );
    in
    lib.concatMapStringsSep "\n" (
      setting:
      "flowkit check-config ${role} ${
        pkgs.writeText "example.json" (builtins.toJSON { ${setting} = options.${setting}.example; })
      }"
    ) (lib.attrNames options);

  wrong = {
    flowdb = {
      FLOWDB_PROT = 9000;
      CACHE_SIZE = "many";
      MAX_CPUS = 2;
      MAX_WORKERS = 4;
    };
    redis.FLOWKIT_REDIS_LISTEN = "everywhere";
    flowmachine = {
      FLOWDB_HOST = "flowdb:9000";
      # Whoever reaches it can run any query.
      FLOWKIT_FLOWMACHINE_LISTEN = "203.0.113.7";
    };
  };
  says = {
    flowdb = [
      "FLOWDB_PROT"
      "CACHE_SIZE"
      "MAX_WORKERS"
    ];
    redis = [ "FLOWKIT_REDIS_LISTEN" ];
    flowmachine = [
      "FLOWDB_HOST"
      "FLOWKIT_FLOWMACHINE_LISTEN"
    ];
  };
  refused =
    role:
    let
      # The command of the very derivation, without it being built.
      unit = lib.head (checked [ { services.flowkit.${role}.settings = wrong.${role}; } ] role);
    in
    ''
      if out=$PWD/accepted bash -euc ${lib.escapeShellArg unit.buildCommand} >said 2>&1; then
        echo "${role}: wrong settings were accepted" >&2
        exit 1
      fi
      cat said
      ${lib.concatMapStringsSep "\n" (part: "grep -q ${part} said") says.${role}}
    '';
in
pkgs.runCommand "flowkit-modules-settings"
  {
    # Built only when they are accepted.
    good = lib.concatMap (checked [ ]) roles;
    nativeBuildInputs = [ packages.flowkit ];
  }
  ''
    echo accepted: $good
    ${lib.concatMapStringsSep "\n" shown roles}
    ${lib.concatMapStringsSep "\n" refused (lib.attrNames wrong)}
    touch $out
  ''
