# One more member for a workspace, empty: it asks for every crate of others that a member asks for.
#
# What programs of a workspace stand on differs, so that crates below have other features for each, and cargo compiles all that
# stands on such a crate once for each set of them. Built together with this member all have the same set, and a crate is compiled once, for
# whichever comes first. What a member needs is asked for in the workspace's own list, for all, and a member that asks for more is refused: so no
# program has of its own list what nixpkgs would not give it. What crates of others ask of each other it may have from a neighbour.
{ lib }:
root:
let
  inherit (lib.importTOML (root + "/Cargo.toml")) workspace;
  folder = lib.removeSuffix "/*" (lib.head workspace.members);
  members = map (name: root + "/${folder}/${name}") (
    lib.attrNames (builtins.readDir (root + "/${folder}"))
  );
  # The members themselves are not for all.
  theirs = lib.filterAttrs (name: _: !(workspace.dependencies.${name} ? path));
  asked = member: theirs (lib.importTOML (member + "/Cargo.toml")).dependencies or { };
  line =
    name: dependency:
    lib.throwIf (dependency ? features)
      "${name}: its features are asked for in Cargo.toml's [workspace.dependencies]"
      "${name}.workspace = true\n";
  lines = lib.mergeAttrsList (map (member: lib.mapAttrs line (asked member)) ([ root ] ++ members));
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
  + lib.concatStrings (lib.attrValues lines);
}
