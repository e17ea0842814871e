# One more member for a workspace, empty: it asks for every crate of others that a member asks for, with all the features.
#
# The programs of a workspace ask for features that differ by little, and cargo compiles all that stands on such a crate once for each
# set of them. Built together with this member all have the same set, so that a crate is compiled once, for whichever comes first.
{ lib }:
root:
let
  inherit (lib.importTOML (root + "/Cargo.toml")) workspace;
  folder = lib.removeSuffix "/*" (lib.head workspace.members);
  members = map (name: root + "/${folder}/${name}") (
    lib.attrNames (builtins.readDir (root + "/${folder}"))
  );
  asked = builtins.zipAttrsWith (_: lib.concatMap (dependency: dependency.features or [ ])) (
    map (member: (lib.importTOML (member + "/Cargo.toml")).dependencies or { }) ([ root ] ++ members)
  );
  # The members themselves are not for all.
  theirs = lib.filterAttrs (name: _: !(workspace.dependencies.${name} ? path)) asked;
in
{
  place = "${folder}/together";
  manifest = ''
    [package]
    name = "together"
    version = "0.0.0"
    edition = "2024"
    [dependencies]
  ''
  + lib.concatStrings (
    lib.mapAttrsToList (
      name: features:
      "${name} = { workspace = true, features = ${builtins.toJSON (lib.unique features)} }\n"
    ) theirs
  );
}
