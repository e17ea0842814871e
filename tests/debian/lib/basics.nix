# Lists, attribute sets and functions.
let
  inherit (builtins)
    attrNames
    concatLists
    elemAt
    filter
    foldl'
    genList
    isAttrs
    isList
    length
    listToAttrs
    mapAttrs
    ;
in
rec {
  inherit (builtins)
    add
    all
    any
    attrNames
    attrValues
    catAttrs
    compareVersions
    concatLists
    concatMap
    deepSeq
    elem
    elemAt
    filter
    foldl'
    fromJSON
    fromTOML
    functionArgs
    genList
    getAttr
    groupBy
    hasAttr
    head
    intersectAttrs
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isPath
    isString
    length
    lessThan
    listToAttrs
    mapAttrs
    partition
    pathExists
    readFile
    removeAttrs
    seq
    sort
    tail
    toJSON
    toPath
    trace
    tryEval
    typeOf
    zipAttrsWith
    ;

  # --- functions ---
  id = x: x;
  const = x: _: x;
  flip =
    f: a: b:
    f b a;
  pipe = foldl' (x: f: f x);
  min = a: b: if a < b then a else b;
  max = a: b: if a > b then a else b;
  warn = message: value: builtins.trace "evaluation warning: ${message}" value;
  throwIf = condition: message: if condition then throw message else id;
  throwIfNot = condition: throwIf (!condition);
  assertMsg = condition: message: condition || throw message;
  importJSON = path: builtins.fromJSON (builtins.readFile path);
  importTOML = path: builtins.fromTOML (builtins.readFile path);
  boolToInt = b: if b then 1 else 0;
  mod = a: b: a - b * (a / b);

  # --- lists ---
  singleton = x: [ x ];
  toList = x: if isList x then x else [ x ];
  optional = condition: x: if condition then [ x ] else [ ];
  optionals = condition: xs: if condition then xs else [ ];
  last = xs: if xs == [ ] then throw "lib.last: the list is empty" else elemAt xs (length xs - 1);
  init = xs: sublist 0 (length xs - 1) xs;
  take = n: sublist 0 n;
  drop = n: xs: sublist n (length xs) xs;
  sublist =
    from: count: xs:
    genList (i: elemAt xs (from + i)) (max 0 (min count (length xs - from)));
  reverseList =
    xs:
    let
      n = length xs;
    in
    genList (i: elemAt xs (n - i - 1)) n;
  range = from: to: genList (i: from + i) (max 0 (to - from + 1));
  imap0 = f: xs: genList (i: f i (elemAt xs i)) (length xs);
  imap1 = f: imap0 (i: f (i + 1));
  flatten = x: if isList x then builtins.concatMap flatten x else [ x ];
  unique = foldl' (seen: x: if builtins.elem x seen then seen else seen ++ [ x ]) [ ];
  subtractLists = away: filter (x: !builtins.elem x away);
  intersectLists = xs: filter (x: builtins.elem x xs);
  remove = x: filter (y: y != x);
  foldr =
    f: end: xs:
    foldl' (acc: x: f x acc) end (reverseList xs);
  findFirst =
    found: otherwise: xs:
    let
      hits = filter found xs;
    in
    if hits == [ ] then otherwise else builtins.head hits;
  count = wanted: xs: length (filter wanted xs);
  naturalSort = builtins.sort builtins.lessThan;
  sortOn = key: builtins.sort (a: b: key a < key b);
  zipListsWith =
    f: xs: ys:
    genList (i: f (elemAt xs i) (elemAt ys i)) (min (length xs) (length ys));

  # --- attribute sets ---
  nameValuePair = name: value: { inherit name value; };
  genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
  mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  attrsToList = mapAttrsToList nameValuePair;
  concatMapAttrs = f: set: mergeAttrsList (mapAttrsToList f set);
  mergeAttrsList = foldl' (a: b: a // b) { };
  filterAttrs =
    wanted: set: builtins.removeAttrs set (filter (name: !wanted name set.${name}) (attrNames set));
  filterAttrsRecursive =
    wanted: set:
    mapAttrs (_: value: if isAttrs value then filterAttrsRecursive wanted value else value) (
      filterAttrs wanted set
    );
  optionalAttrs = condition: set: if condition then set else { };
  getAttrs = names: set: genAttrs names (name: set.${name});
  attrByPath =
    path: otherwise: set:
    if path == [ ] then
      set
    else if isAttrs set && set ? ${builtins.head path} then
      attrByPath (builtins.tail path) otherwise set.${builtins.head path}
    else
      otherwise;
  hasAttrByPath =
    path: set:
    path == [ ]
    || (set ? ${builtins.head path} && hasAttrByPath (builtins.tail path) set.${builtins.head path});
  getAttrFromPath =
    path: set:
    attrByPath path (throw "cannot find attribute '${builtins.concatStringsSep "." path}'") set;
  setAttrByPath =
    path: value:
    if path == [ ] then
      value
    else
      { ${builtins.head path} = setAttrByPath (builtins.tail path) value; };
  mapAttrsRecursiveCond =
    descend: f: set:
    let
      go =
        path:
        mapAttrs (
          name: value:
          if isAttrs value && descend value then go (path ++ [ name ]) value else f (path ++ [ name ]) value
        );
    in
    go [ ] set;
  mapAttrsRecursive = mapAttrsRecursiveCond (_: true);
  # The right side wins, except that sets on both sides are merged.
  recursiveUpdate =
    left: right:
    left
    // mapAttrs (
      name: value:
      if isAttrs value && isAttrs (left.${name} or null) then
        recursiveUpdate left.${name} value
      else
        value
    ) right;
  isDerivation = value: value.type or null == "derivation";
  zipAttrs = builtins.zipAttrsWith (_: values: values);
  foldlAttrs =
    f: start: set:
    foldl' (acc: name: f acc name set.${name}) start (attrNames set);
}
