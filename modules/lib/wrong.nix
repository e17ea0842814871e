# What can be wrong with a role's options and is seen before anything is built.
{ lib }:
{
  name,
  role,
  catalogue,
  cfg,
  flowkit,
  here,
  has,
  secrets,
  settings,
  addressed,
  places,
  listens,
  loopback,
  ...
}:
let
  option = "services.flowkit.${name}";
  given = lib.attrNames (lib.filterAttrs (_: value: value != null) cfg.settings);
  known = lib.concatMap (setting: catalogue.spellings setting) settings;
  strange = lib.filter (it: !lib.elem it known) given;

  owner =
    spelling: all:
    lib.head (
      lib.filter (it: lib.elem spelling (catalogue.spellings it)) (lib.attrValues all) ++ [ null ]
    );
  fault = message: {
    assertion = false;
    inherit message;
  };

  # A name that does not belong among the settings, and where it does.
  misplaced =
    it:
    let
      secret = owner it catalogue.secrets;
      setting = owner it catalogue.settings;
      directory = lib.filter (volume: it == volume.place or null || it == volume.setting or null) (
        role.volume or [ ]
      );
    in
    if secret != null then
      [
        (fault "${option}.settings.${it} is a secret, and settings can be read by everybody. Remove it, and let ${option}.secrets.${secret.name} name a file that holds it.")
      ]
    else if directory != [ ] then
      [
        (fault "${option}.settings.${it} is set by ${option}.directories.${(lib.head directory).setting}, which also lets the unit in: give that.")
      ]
    else if setting != null && (setting.scope or "service") == "deployment" then
      [
        (fault "${option}.settings.${it} is for stacks of containers and changes nothing here. Remove it; ports and addresses are set by ${
          lib.concatMapStringsSep ", " (port: "${port.setting}, ${port.listen}") listens
        }.")
      ]
    else
      [ ];

  # Where others are.
  nowhere =
    lib.filter (
      setting:
      setting.owner != name
      && setting.type == "host"
      && cfg.settings.${setting.name} == null
      && has "talks-to" setting.owner
    ) settings
    ++
      map
        (talk: {
          name = talk.setting;
          owner = talk.role;
        })
        (
          lib.filter (
            talk:
            !(talk.optional or false)
            && cfg.settings.${talk.setting} == null
            && !here talk.role
            && has "talks-to" talk.role
          ) addressed
        );

  # A role of this host that would be asked at an address at which it does not listen.
  deaf = lib.filter (
    setting:
    setting.owner != name
    && setting.type == "host"
    && here setting.owner
    && cfg.settings.${setting.name} != null
    && loopback cfg.settings.${setting.name}
    && builtins.all (listen: !loopback listen && !everywhere listen) (listensOf setting.owner)
  ) settings;
  listensOf = owner: map (port: port.listen) flowkit.running.${owner}.ports;
  everywhere = address: address == "0.0.0.0" || address == "::";

  # Files that are needed and that nobody names.
  missing = lib.filter (
    secret: !(secret.optional or false) && !(secret.make ? fixed) && cfg.secrets.${secret.name} == null
  ) secrets;

  # A secret of a role elsewhere can't be made here: it would be another one. A role that cannot be run yet is nowhere.
  foreign = lib.filter (
    secret:
    flowkit.makeSecrets
    && catalogue.roles ? ${secret.owner}
    && !here secret.owner
    && !(secret.make ? fixed)
    && cfg.secrets.${secret.name} == "${flowkit.secretsDir}/${secret.name}"
  ) secrets;
  names = lib.concatMapStringsSep ", " (secret: secret.name);

  # Variables have names that are theirs.
  unnameable = lib.filter (it: builtins.match "[A-Z_][A-Z0-9_]*" it == null) (
    lib.subtractLists (map (secret: secret.name) secrets) (lib.attrNames cfg.secrets)
  );

  homes = lib.filter (
    directory:
    directory != null
    && builtins.any (home: directory == home || lib.hasPrefix "${home}/" directory) [
      "/home"
      "/root"
      "/run/user"
    ]
  ) (lib.attrValues (cfg.directories or { }));
in
{
  assertions =
    lib.concatMap misplaced strange
    ++ map (
      setting:
      fault "${option}: ${catalogue.title setting.owner} does not run on this host. Set ${option}.settings.${setting.name} to where it does, or services.flowkit.${setting.owner}.enable = true."
    ) nowhere
    ++ map (
      setting:
      let
        address = lib.head (listensOf setting.owner);
      in
      fault "${option} would look for ${catalogue.title setting.owner} at ${cfg.settings.${setting.name}}, but on this host it listens on ${address} only. Set services.flowkit.${setting.owner}.settings.${setting.name} = \"${address}\"."
    ) deaf
    ++ lib.optional (missing != [ ]) (
      fault "${option} has no files for its secrets ${names missing}. Let services.flowkit.makeSecrets = true make them; or put them into a directory, each in a file of its name, and set services.flowkit.secretsDir to it; or give ${option}.secrets.${(lib.head missing).name} and the others as paths, of sops-nix, agenix or your own."
    )
    ++ lib.optional (foreign != [ ]) (
      fault "${option}: services.flowkit.makeSecrets would make new ${names foreign}, but they belong to ${
        lib.concatMapStringsSep ", " catalogue.title (lib.unique (map (secret: secret.owner) foreign))
      } on another host and must be the same there. Copy them from there, and give their files as ${option}.secrets.${(lib.head foreign).name} and so on."
    )
    ++ map (
      it: fault "${option}.secrets.${it} is no name of a variable: capitals, digits and _ only."
    ) unnameable
    ++ map (
      directory:
      fault "${option}.directories: the unit cannot see ${directory}, as it is kept out of everybody's home directories. Choose a place such as /srv/${name}."
    ) homes;

  warnings =
    map (setting: "${option}.settings.${setting.name} has no effect: ${setting.ignored}.") (
      lib.filter (setting: setting ? ignored) (
        lib.filter (it: it != null) (map (it: owner it catalogue.settings) strange)
      )
    )
    ++ map (
      port:
      "${option}.openFirewall opens port ${
        toString cfg.settings.${port.setting}
      }, but ${role.title} listens on ${cfg.settings.${port.listen}} only; set ${option}.settings.${port.listen} to an address that others can reach."
    ) (lib.filter (port: cfg.openFirewall && loopback cfg.settings.${port.listen}) listens);
}
