# A role as a NixOS module, made of the catalogue (src/roles) and the little that only Nix can say:
#
#   name           the role
#   programs       packages -> settings that name programs of other packages
#   relax          settings -> names of the relaxations of ./hardening.nix that it needs
#   serviceConfig  what its unit has beside what every unit has
{
  name,
  programs ? _: { },
  relax ? _: [ ],
  serviceConfig ? { },
}:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  catalogue = import ./catalogue.nix;
  make = import ./options.nix { inherit lib; };

  role = catalogue.roles.${name};
  flowkit = config.services.flowkit;
  cfg = flowkit.${name};

  # Whether any variable may be a secret of its name.
  anyVariable = role.any-variable or false;

  # Whether a role runs on this host; it may not even be imported.
  here = other: (flowkit.${other} or { enable = false; }).enable;

  # Those of its components that run here; none stands for all.
  components = cfg.components or [ ];
  isApart = role ? apart && cfg.settings.${role.apart.setting} == role.apart.value;
  # Whether all of them do, or one that has this name in a list of the catalogue's.
  has =
    list: name:
    components == [ ]
    || lib.any (
      component: lib.elem component.name components && lib.elem name (component.${list} or [ ])
    ) role.component;

  allSecrets = catalogue.secretsOf role;
  secrets = lib.filter (secret: has "secrets" secret.name) allSecrets;
  settings = lib.filter (setting: !lib.elem setting.name places) (catalogue.settingsOf role);
  volumes = lib.filter (volume: volume ? setting) (role.volume or [ ]);
  places = lib.concatMap (volume: lib.optional (volume ? place) volume.place) (role.volume or [ ]);

  # What the module knows better than the catalogue: programs are store paths, and what belongs to a role of this host is
  # as that role has it. A host that runs no FlowDB must be told where one is.
  known =
    lib.listToAttrs (
      map (
        setting:
        lib.nameValuePair setting.name {
          value =
            if here setting.owner then
              flowkit.${setting.owner}.settings.${setting.name}
            else if setting.type == "host" then
              null
            else
              setting.default or null;
          text = lib.literalMD "as `services.flowkit.${setting.owner}` has it, where that role is on the same host${
            lib.optionalString (
              setting.type != "host" && setting ? default
            ) ", else `${builtins.toJSON setting.default}`"
          }";
        }
      ) (lib.filter (setting: setting.owner != name) settings)
    )
    // lib.listToAttrs (
      map (
        talk:
        lib.nameValuePair talk.setting {
          value = address talk;
          text = lib.literalMD "where `services.flowkit.${talk.role}` is on the same host and speaks HTTPS, its address";
        }
      ) addressed
    )
    // lib.mapAttrs (setting: value: {
      inherit value;
      text = lib.literalMD "of `services.flowkit.packages`";
    }) (programs flowkit.packages);

  # Roles that are told of by an address.
  addressed = lib.filter (talk: talk ? form) (role.talks-to or [ ]);
  # Where one of them is, if it is on this host.
  address =
    talk:
    let
      other = flowkit.${talk.role}.settings;
      port = lib.head catalogue.roles.${talk.role}.port;
      plain = other."FLOWKIT_${lib.toUpper talk.role}_PLAIN_HTTP" or false;
      reached =
        if
          lib.elem other.${port.listen} [
            "0.0.0.0"
            "::"
          ]
        then
          "localhost"
        else
          other.${port.listen};
    in
    if here talk.role && !plain then
      lib.replaceStrings
        [ "{host}" "{port}" ]
        [
          reached
          (toString other.${port.setting})
        ]
        talk.form
    else
      null;

  # Where it listens, as far as others have to be told where; and what its own components on other hosts come to, which is
  # open to them when it listens beyond this host.
  ports = lib.filter (port: has "ports" port.name && (isApart || !(port.apart or false))) (
    role.port or [ ]
  );
  listens = lib.filter (port: port ? listen && !(port.between or false)) ports;
  between = lib.filter (
    port:
    port.between or false
    && (if port ? listen then !loopback cfg.settings.${port.listen} else components != [ ])
  ) ports;
  loopback = host: host == "localhost" || host == "::1" || lib.hasPrefix "127." host;
  hosts =
    map (port: cfg.settings.${port.listen}) (listens ++ lib.filter (port: port ? listen) between)
    ++ lib.concatMap (
      setting:
      lib.optional (
        setting.owner != name && setting.type == "host" && cfg.settings.${setting.name} != null
      ) cfg.settings.${setting.name}
    ) settings
    # Where its other components are, and what listens for them.
    ++ lib.optionals (components != [ ]) (
      map (setting: cfg.settings.${setting.name}) (
        lib.filter (
          setting:
          setting.owner == name
          && lib.elem setting.type [
            "host"
            "address"
          ]
        ) settings
      )
    )
    ++ map (talk: hostOf cfg.settings.${talk.setting}) (
      lib.filter (talk: cfg.settings.${talk.setting} != null) addressed
    );
  # `https://host:9090`, `https://[::1]:9090`
  hostOf =
    url:
    let
      parts = builtins.match "https?://(\\[([^]]*)]|([^:/]*)).*" url;
    in
    if parts == null then
      url
    else if lib.elemAt parts 1 != null then
      lib.elemAt parts 1
    else
      lib.elemAt parts 2;

  facts = {
    inherit
      name
      role
      catalogue
      cfg
      flowkit
      here
      secrets
      allSecrets
      components
      has
      isApart
      settings
      addressed
      volumes
      places
      listens
      loopback
      relax
      serviceConfig
      ;
    onlyLocal = builtins.all loopback hosts;
  };
  wrong = import ./wrong.nix { inherit lib; } facts;
  unit = import ./unit.nix { inherit lib pkgs; } facts;
  user = "flowkit-${name}";
in
{
  imports = [ ./common.nix ];

  options.services.flowkit.${name} = {
    enable = lib.mkEnableOption "${role.title} on this host: ${role.summary}";

    package = lib.mkPackageOption flowkit "flowkit" {
      default = "package";
      pkgsText = "config.services.flowkit";
      example = "inputs.flowkit.packages.\${pkgs.stdenv.hostPlatform.system}.flowkit";
      extraDescription = "It runs ${role.title}.";
    };

    settings = lib.mkOption {
      type = lib.types.submodule {
        freeformType = make.freeform;
        options = lib.listToAttrs (
          map (
            setting: lib.nameValuePair setting.name (make.setting setting (known.${setting.name} or null))
          ) settings
        );
      };
      default = { };
      example = lib.literalExpression (
        let
          first = lib.head (lib.filter (setting: setting.type == "port") settings);
        in
        "{ ${first.name} = ${toString (first.default + 100)}; }"
      );
      description = ''
        Settings of ${role.title}, by their names in the reference of settings. They are checked when the configuration is
        built. Everybody can read them: secrets do not belong here.
      '';
    };

    secretsDir = lib.mkOption {
      type = lib.types.nullOr make.secretPath;
      default = flowkit.secretsDir;
      defaultText = lib.literalExpression "config.services.flowkit.secretsDir";
      example = "/run/keys/flowkit";
      description = "Directory with the secrets that ${role.title} uses, each in a file of its name.";
    };

    secrets = lib.mkOption {
      type = lib.types.submodule (
        {
          options = lib.listToAttrs (
            map (secret: lib.nameValuePair secret.name (make.secret secret cfg.secretsDir)) allSecrets
          );
        }
        // lib.optionalAttrs anyVariable { freeformType = lib.types.attrsOf make.secretPath; }
      );
      default = { };
      example = lib.literalExpression "{ ${(lib.last allSecrets).name} = config.sops.secrets.${(lib.last allSecrets).name}.path; }";
      description = ''
        Where each secret of ${role.title} is, when it is not in `secretsDir`. systemd reads the files as root and shows
        copies to the unit alone, so they may stay closed to everybody. Files in a directory `credstore.encrypted` are
        those of `systemd-creds encrypt`, and are decrypted for the unit.
      ''
      + lib.optionalString anyVariable ''

        A file under any other name becomes a variable of that name, which nobody else sees.
      '';
    };

    allowedAddresses = lib.mkOption {
      type = lib.types.listOf lib.types.nonEmptyStr;
      default = if facts.onlyLocal then [ "localhost" ] else [ "any" ];
      defaultText = lib.literalMD "`[ \"localhost\" ]` while it listens on this host alone and reaches only roles of this host, else `[ \"any\" ]`";
      example = [
        "localhost"
        "10.0.0.0/24"
      ];
      description = "Addresses and networks that ${role.title} may exchange packets with (systemd's `IPAddressAllow`).";
    };

    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description =
        "Whether to open the ports of ${role.title} in this host's firewall"
        + lib.optionalString (role ? component) (
          ": those of the components that run here, and nothing else. What only its components on other hosts come to ("
          + lib.concatMapStringsSep ", " (port: port.setting) (
            lib.filter (port: port.between or false) role.port
          )
          + ") is opened where it listens beyond the loopback"
        )
        + ".";
    };
  }
  // lib.optionalAttrs (role ? component) {
    components = lib.mkOption {
      type = lib.types.listOf (lib.types.enum (map (component: component.name) role.component));
      default = [ ];
      example = [ (lib.last role.component).name ];
      description = ''
        Components of ${role.title} that run on this host, where others run on others: each knows by its settings where they
        are. An empty list stands for all. They run apart with `${role.apart.setting} = "${role.apart.value}"` only.
      '';
    };
  }
  // lib.optionalAttrs (volumes != [ ]) {
    directories = lib.mkOption {
      type = lib.types.submodule {
        options = lib.listToAttrs (
          map (volume: lib.nameValuePair volume.setting (make.directory volume catalogue.settings)) volumes
        );
      };
      default = { };
      example = lib.literalExpression "{ ${(lib.head volumes).setting} = \"/srv/${name}\"; }";
      description = "Directories of this host that ${role.title} uses, by their names in FlowKit's deployment guide.";
    };
  };

  config = lib.mkIf cfg.enable {
    inherit (wrong) assertions warnings;

    services.flowkit.running.${name} = {
      # What connection strings among the secrets hold.
      addresses = lib.filterAttrs (
        setting: _:
        lib.elem (catalogue.settings.${setting}.type or null) [
          "host"
          "port"
        ]
      ) unit.environment;
      ports = map (port: {
        inherit (port) setting;
        listen = cfg.settings.${port.listen};
        number = cfg.settings.${port.setting};
      }) listens;
    };

    systemd.services.${user} = unit.service;
    systemd.tmpfiles.settings = lib.mkIf (unit.directories != { }) { "10-${user}" = unit.directories; };

    users.users.${user} = {
      isSystemUser = true;
      group = user;
      home = "/var/lib/flowkit/${name}";
      description = "FlowKit's ${role.title}";
    };
    users.groups.${user} = { };

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall (
      map (port: cfg.settings.${port.setting}) (listens ++ between)
    );
  };
}
