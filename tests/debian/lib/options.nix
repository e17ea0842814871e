# Option declarations, the properties that definitions are wrapped in (mkIf and its kin), and how options are shown.
{ lib }:
let
  inherit (builtins)
    concatMap
    concatStringsSep
    filter
    isAttrs
    isList
    isString
    ;
in
rec {
  mkOption = declaration: declaration // { _type = "option"; };
  isOption = value: value._type or null == "option";
  mkEnableOption =
    name:
    mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether to enable ${name}.";
    };

  # --- properties of definitions ---
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };
  mkOptionDefault = mkOverride 1500;
  mkDefault = mkOverride 1000;
  mkImageMediaOverride = mkOverride 60;
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;
  defaultOverridePriority = 100;
  defaultOrderPriority = 1000;

  # --- text for documents ---
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  literalMD = text: {
    _type = "literalMD";
    inherit text;
  };
  renderOptionValue =
    value: if value ? _type && value ? text then value else literalExpression (showValue "" value);

  # A value as Nix text, one element of a collection a line.
  showValue =
    indent: value:
    let
      deeper = indent + "  ";
      block =
        open: close: lines:
        "${open}\n" + lib.concatMapStrings (line: "${deeper}${line}\n") lines + "${indent}${close}";
      key =
        name:
        if builtins.match "[a-zA-Z_][a-zA-Z0-9_'-]*" name != null then name else lib.escapeNixString name;
    in
    if isString value && lib.hasInfix "\n" value then
      "''\n${deeper}${concatStringsSep "\n${deeper}" (lib.splitString "\n" value)}''"
    else if isString value then
      lib.escapeNixString value
    else if builtins.isPath value then
      toString value
    else if value == null then
      "null"
    else if builtins.isFunction value then
      "<function>"
    else if lib.isDerivation value then
      "<derivation ${value.name or "???"}>"
    else if isList value then
      if value == [ ] then "[ ]" else block "[" "]" (map (showValue deeper) value)
    else if isAttrs value then
      if value == { } then
        "{ }"
      else
        block "{" "}" (lib.mapAttrsToList (name: v: "${key name} = ${showValue deeper v};") value)
    else
      builtins.toJSON value;

  showOption =
    loc:
    let
      part =
        name:
        if builtins.match "[a-zA-Z_][a-zA-Z0-9_-]*|<.*>|\\*" name != null then
          name
        else
          lib.escapeNixString name;
    in
    concatStringsSep "." (map part loc);

  # Where a thing was defined and as what; a value that itself fails is left out, and a long one is cut.
  showDefs = lib.concatMapStrings (
    def:
    let
      shown = builtins.tryEval (
        let
          text = showValue "" def.value;
        in
        builtins.seq (builtins.stringLength text) text
      );
      lines = lib.splitString "\n" shown.value;
      cut = lib.take 5 lines ++ lib.optional (builtins.length lines > 5) "...";
    in
    "\n- In `${toString def.file}'"
    + lib.optionalString shown.success (
      if builtins.length lines > 1 then ":\n    ${concatStringsSep "\n    " cut}" else ": ${shown.value}"
    )
  );

  # --- merging that several types share ---
  mergeOneOption =
    loc: defs:
    if builtins.length defs == 1 then
      (builtins.head defs).value
    else
      throw "The option `${showOption loc}' is defined multiple times while it's expected to be unique.\nDefinition values:${showDefs defs}";
  mergeEqualOption =
    loc: defs:
    let
      first = (builtins.head defs).value;
      other = filter (def: def.value != first) defs;
    in
    if builtins.length defs == 1 || other == [ ] then
      first
    else
      throw "The option `${showOption loc}' has conflicting definition values:${showDefs defs}\nUse `lib.mkForce value` or `lib.mkDefault value` to change the priority on any of these definitions.";

  # Every option of a tree, those of submodules behind the option that holds them, as plain data.
  optionAttrSetToDocList =
    tree:
    concatMap (
      option:
      let
        name = showOption option.loc;
        visible = option.visible or true;
        documented = option ? defaultText || option ? default;
        inside = option.type.getSubOptions option.loc;
      in
      [
        (
          {
            inherit name;
            inherit (option) loc;
            declarations = filter (file: file != "<unknown-file>") option.declarations;
            description = option.description or null;
            internal = option.internal or false;
            visible = if builtins.isBool visible then visible else visible == "shallow";
            readOnly = option.readOnly or false;
            type = option.type.description;
          }
          // lib.optionalAttrs (option ? example) { example = renderOptionValue option.example; }
          //
            lib.optionalAttrs
              (documented || (option.type.emptyValue ? value && option.type.getSubModules == null))
              {
                default = renderOptionValue (option.defaultText or option.default or option.type.emptyValue.value);
              }
          // lib.optionalAttrs (option.relatedPackages or null != null) { inherit (option) relatedPackages; }
        )
      ]
      ++ lib.optionals ((builtins.isBool visible && visible) || visible == "transparent") (
        if inside == { } then [ ] else optionAttrSetToDocList inside
      )
    ) (collectOptions tree);
  collectOptions =
    tree:
    if isOption tree then
      [ tree ]
    else if isAttrs tree then
      concatMap collectOptions (builtins.attrValues tree)
    else
      [ ];
}
