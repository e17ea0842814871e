# What every machine of ours has beside its roles: their ports open to others, secrets that come from outside or are made
# at the first start, and nobody who could log in.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  catalogue = import ../modules/lib/catalogue.nix;
  cfg = config.services.flowkit;
  running = lib.filterAttrs (name: _: cfg.${name}.enable) catalogue.roles;
  # Whether every secret that is used here belongs to a role that is here, or to one that cannot be run yet: others can't be
  # made, they must be the same.
  own = builtins.all (secret: running ? ${secret.owner} || !(catalogue.roles ? ${secret.owner})) (
    lib.concatMap catalogue.secretsOf (lib.attrValues running)
  );
  # What others may reach: the ports that the guide publishes. What asks for passwords by HTTP is not for a network.
  published =
    role:
    lib.filter (port: port ? published && (cfg.publishPlain || !(port.plain or false))) (
      role.port or [ ]
    );
  # The settings of a role that name programs, and where another role is that it does without.
  programs = lib.filterAttrs (
    name: value:
    lib.isString value && (lib.hasPrefix builtins.storeDir value || lib.elem name introduced)
  );
  introduced = lib.concatMap (role: map (talk: talk.setting or "") (role.talks-to or [ ])) (
    lib.attrValues running
  );

  units = map (name: "flowkit-${name}.service") (lib.attrNames running);

  # Where secrets from outside are found, each in a file of its name: vm.nix and disk.nix bring something there.
  offered = "/mnt/flowkit-secrets";
in
{
  options.services.flowkit.publishPlain = lib.mkOption {
    type = lib.types.bool;
    internal = true;
    default = false;
    description = "Whether others are no further away than the host that the machine runs on.";
  };

  options.services.flowkit.published = lib.mkOption {
    type = lib.types.listOf lib.types.attrs;
    internal = true;
    readOnly = true;
    default = lib.concatLists (
      lib.mapAttrsToList (
        name: role:
        map (port: {
          inherit (port) published;
          number = cfg.${name}.settings.${port.setting};
        }) (published role)
      ) running
    );
    description = "Ports that others may reach: the number, and the setting that names the port outside.";
  };

  config = {
    services.flowkit = {
      makeSecrets = lib.mkDefault own;
      secretsDir = lib.mkDefault "/var/lib/flowkit/secrets";
    }
    // lib.mapAttrs (_: role: {
      openFirewall = lib.mkDefault (published role != [ ]);
      settings = lib.listToAttrs (
        map (port: lib.nameValuePair port.listen (lib.mkDefault "0.0.0.0")) (published role)
      );
    }) catalogue.roles;

    # Secrets that are offered replace those that are here; what is missing after that is made.
    systemd.services.flowkit-secrets-offered = {
      description = "Secrets of FlowKit that come from outside the machine";
      wantedBy = [ "multi-user.target" ];
      before = lib.optional cfg.makeSecrets "flowkit-secrets.service" ++ units;
      requiredBy = units;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        UMask = "0077";
      };
      script = ''
        mkdir -p -m 0700 ${cfg.secretsDir}
        for file in ${offered}/*; do
            [ -f "$file" ] || continue
            name=''${file##*/}
            # Renamed into place: a power cut leaves the old one or the new one.
            install -m 0600 "$file" "${cfg.secretsDir}/.$name.new"
            mv "${cfg.secretsDir}/.$name.new" "${cfg.secretsDir}/$name"
            echo "$name was taken from outside"
        done
      '';
    };

    networking = {
      firewall.enable = true;
      useNetworkd = true;
      nftables.enable = true;
      useDHCP = lib.mkDefault true;
    };

    # `flowkit-admin db …`, `flowkit-admin verify`: commands about a whole deployment, for root. They run as FlowDB's user, who
    # is the superuser over the socket in FlowDB's directory; systemd shows them the secrets, as it does to the units.
    environment.systemPackages = lib.optional cfg.flowdb.enable (
      pkgs.writeShellApplication {
        name = "flowkit-admin";
        text = ''
          options=()
          for file in ${cfg.secretsDir}/*; do
              options+=(--property "LoadCredential=''${file##*/}:$file")
          done
          exec systemd-run --quiet --pipe --wait --collect --service-type=exec --uid=flowkit-flowdb --gid=flowkit-flowdb \
            ${
              lib.concatStringsSep " " (
                lib.mapAttrsToList (name: value: "--setenv=${name}=${lib.escapeShellArg value}") (
                  lib.foldl' (all: name: all // programs cfg.${name}.settings) { } (lib.attrNames running)
                )
              )
            } \
            "''${options[@]}" ${lib.getExe' cfg.package "flowkit"} "$@" --dir /var/lib/flowkit/flowdb
        '';
      }
    );

    documentation.enable = lib.mkDefault false;
    system.stateVersion = lib.mkDefault "26.05";
  };
}
