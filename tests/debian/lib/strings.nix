# Strings, and what is made of them.
{ lib }:
let
  inherit (builtins)
    concatStringsSep
    filter
    genList
    isString
    replaceStrings
    stringLength
    substring
    ;
  lower = stringToCharacters "abcdefghijklmnopqrstuvwxyz";
  upper = stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  stringToCharacters = s: genList (i: substring i 1 s) (stringLength s);
in
rec {
  inherit (builtins)
    concatStringsSep
    match
    parseDrvName
    replaceStrings
    split
    stringLength
    substring
    toJSON
    unsafeDiscardStringContext
    ;
  inherit stringToCharacters;

  concatStrings = concatStringsSep "";
  concatMapStrings = f: xs: concatStrings (map f xs);
  concatMapStringsSep =
    sep: f: xs:
    concatStringsSep sep (map f xs);
  concatImapStringsSep =
    sep: f: xs:
    concatStringsSep sep (lib.imap1 f xs);
  concatLines = concatMapStrings (line: line + "\n");
  optionalString = condition: s: if condition then s else "";
  hasPrefix = prefix: s: substring 0 (stringLength prefix) s == prefix;
  hasSuffix =
    suffix: s:
    let
      start = stringLength s - stringLength suffix;
    in
    start >= 0 && substring start (-1) s == suffix;
  hasInfix =
    infix: s: builtins.match ".*${escapeRegex infix}.*" (replaceStrings [ "\n" ] [ " " ] s) != null;
  removePrefix = prefix: s: if hasPrefix prefix s then substring (stringLength prefix) (-1) s else s;
  removeSuffix =
    suffix: s: if hasSuffix suffix s then substring 0 (stringLength s - stringLength suffix) s else s;
  splitString = sep: s: filter isString (builtins.split (escapeRegex sep) s);
  toLower = replaceStrings upper lower;
  toUpper = replaceStrings lower upper;
  trim = s: builtins.head (builtins.match "[ \t\r\n]*(.*[^ \t\r\n]|)[ \t\r\n]*" s);
  replicate = n: x: genList (_: x) n;
  fixedWidthString =
    width: filler: s:
    concatStrings (replicate (lib.max 0 (width - stringLength s)) filler) + s;
  escape = chars: replaceStrings chars (map (c: "\\" + c) chars);
  escapeRegex = escape (stringToCharacters "\\[{()^$?*+|.");
  escapeNixString = s: escape [ "$" ] (builtins.toJSON s);
  # A word that needs no quotes is left as it is.
  escapeShellArg =
    value:
    let
      s = toString value;
    in
    if builtins.match "[[:alnum:],._+:@%/-]+" s != null then
      s
    else
      "'${replaceStrings [ "'" ] [ "'\\''" ] s}'";
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  boolToString = b: if b then "true" else "false";
  boolToYesNo = b: if b then "yes" else "no";
  isStringLike =
    value: isString value || builtins.isPath value || value ? outPath || value ? __toString;
  isConvertibleWithToString =
    value:
    isStringLike value
    || builtins.elem (builtins.typeOf value) [
      "null"
      "int"
      "float"
      "bool"
    ]
    || (builtins.isList value && builtins.all isConvertibleWithToString value);
  # A path directly below the store's directory.
  isStorePath =
    value:
    isStringLike value
    && (
      let
        s = toString value;
      in
      hasPrefix "/" s && dirOf s == builtins.storeDir
    );
  toInt =
    s:
    let
      digits = builtins.match "[[:space:]]*(-?[0-9]+)[[:space:]]*" s;
      value = if digits == null then null else builtins.fromJSON (builtins.head digits);
    in
    if builtins.isInt value then value else throw "lib.toInt: '${s}' is not an integer";
  getName =
    x:
    if isString x then
      (builtins.parseDrvName x).name
    else
      x.pname or (builtins.parseDrvName x.name).name;
  getVersion =
    x:
    if isString x then
      (builtins.parseDrvName x).version
    else
      x.version or (builtins.parseDrvName x.name).version;
  versionAtLeast = a: b: builtins.compareVersions a b >= 0;
  versionOlder = a: b: builtins.compareVersions b a == 1;
  versions = {
    major = v: builtins.head (splitString "." v);
    minor = v: builtins.elemAt (splitString "." v) 1;
    majorMinor = v: concatStringsSep "." (lib.take 2 (splitString "." v));
  };
}
