# The catalogue as modules ask for it: what a role reads, and who owns what. Needs no package set.
let
  dir = ../../src/roles;
  files = builtins.filter (file: builtins.match ".*\\.toml" file != null) (
    builtins.attrNames (builtins.readDir dir)
  );
  byName =
    list:
    builtins.listToAttrs (
      map (value: {
        inherit (value) name;
        inherit value;
      }) list
    );
  # Every role that is described: one that runs may use what one that does not run yet owns.
  described = map (file: builtins.fromTOML (builtins.readFile (dir + "/${file}"))) files;
  owned =
    kind:
    byName (
      builtins.concatMap (role: map (it: it // { owner = role.name; }) (role.${kind} or [ ])) described
    );
  used =
    from: role: map (name: from.${name}) (builtins.filter (name: from ? ${name}) (role.uses or [ ]));
in
rec {
  # Roles that can be run and have a module, by name.
  roles =
    let
      built = import dir;
      have = builtins.filter (name: builtins.pathExists (../. + "/${name}.nix")) (
        builtins.attrNames built
      );
    in
    byName (map (name: built.${name}) have);

  # Every secret and every setting, by its own name, with the role that owns it.
  secrets = owned "secret";
  settings = owned "setting";

  title = name: (byName described).${name}.title;

  # What a role reads, its own and others'.
  secretsOf = role: map (secret: secrets.${secret.name}) (role.secret or [ ]) ++ used secrets role;
  settingsOf =
    role:
    builtins.filter (setting: (setting.scope or "service") == "service" && !(setting ? ignored)) (
      map (setting: settings.${setting.name}) (role.setting or [ ]) ++ used settings role
    );

  spellings = it: [ it.name ] ++ it.also or [ ];
}
