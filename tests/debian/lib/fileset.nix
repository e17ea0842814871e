# Sets of files of the source tree, as a set from path to true. Small trees only: everything below a directory that is
# named is listed.
{ lib }:
let
  inherit (builtins)
    attrNames
    filter
    isPath
    listToAttrs
    mapAttrs
    pathExists
    readDir
    readFileType
    ;

  # { path = type } of all files at or below a path.
  below =
    path: type:
    if type == "directory" then
      lib.mergeAttrsList (lib.mapAttrsToList (name: t: below (path + "/${name}") t) (readDir path))
    else
      { ${toString path} = type; };

  make = files: {
    _type = "fileset";
    inherit files;
  };

  toSet =
    what: x:
    if x._type or null == "fileset" then
      x.files
    else if !isPath x then
      throw "lib.fileset.${what}: expected a path or a file set, got a ${builtins.typeOf x}${lib.optionalString (builtins.isString x) " (a string: write the path without quotes)"}"
    else if !pathExists x then
      throw "lib.fileset.${what}: ${toString x} does not exist (a file that git does not track is not there for a flake)"
    else
      below x (readFileType x);

  ancestors = path: if path == "/" then [ "/" ] else [ path ] ++ ancestors (dirOf path);
in
rec {
  unions = sets: make (lib.mergeAttrsList (map (toSet "unions") sets));
  union =
    a: b:
    unions [
      a
      b
    ];
  intersection =
    a: b: make (builtins.intersectAttrs (toSet "intersection" a) (toSet "intersection" b));
  difference =
    a: b: make (builtins.removeAttrs (toSet "difference" a) (attrNames (toSet "difference" b)));
  maybeMissing = path: if pathExists path then unions [ path ] else make { };

  # The files at or below a path for which wanted { name type hasExt } holds.
  fileFilter =
    wanted: path:
    make (
      lib.filterAttrs (
        file: type:
        let
          name = baseNameOf file;
        in
        wanted {
          inherit name type;
          hasExt = ext: lib.hasSuffix ".${ext}" name;
        }
      ) (toSet "fileFilter" path)
    );

  toList = set: map (file: /. + file) (attrNames (toSet "toList" set));

  # A store path with the files of a set, and no others, where they are below the root.
  toSource =
    { root, fileset }:
    let
      files = toSet "toSource" fileset;
      directories = listToAttrs (
        map (name: lib.nameValuePair name true) (
          lib.concatMap (file: ancestors (dirOf file)) (attrNames files)
        )
      );
      outside = filter (file: !lib.hasPrefix "${toString root}/" file) (attrNames files);
    in
    if outside != [ ] then
      throw "lib.fileset.toSource: ${builtins.head outside} is not below the root ${toString root}"
    else
      {
        origSrc = root;
        name = "source";
        outPath = builtins.path {
          path = root;
          name = "source";
          filter = path: type: if type == "directory" then directories ? ${path} else files ? ${path};
        };
      };
}
