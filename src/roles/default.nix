# The catalogue for Nix: the roles that images are made of, by name, each as `<role>.toml` says it. Needs no package set.
let
  files = builtins.readDir ./.;
  role = file: builtins.fromTOML (builtins.readFile (./. + "/${file}"));
  described = map role (
    builtins.filter (file: builtins.match ".*\\.toml" file != null) (builtins.attrNames files)
  );
in
builtins.listToAttrs (
  map (value: {
    inherit (value) name;
    inherit value;
  }) (builtins.filter (role: role.built) described)
)
