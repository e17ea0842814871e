# The types of options. A type is a set of
#   name, description, descriptionClass   how it reads, and whether it needs parentheses inside another description
#   check value                           whether one definition may be
#   merge loc defs                        the value that definitions make together; `defs` is a list of { file value }
#   emptyValue                            { value } when no definition is a value too
#   getSubOptions loc, getSubModules      what documents show below it
#   join other                            the type of an option that is declared with both, or null
{ lib }:
let
  inherit (builtins)
    all
    concatMap
    elem
    filter
    head
    isAttrs
    isFloat
    isFunction
    isInt
    isList
    isString
    mapAttrs
    match
    ;
  inherit (lib.options)
    mergeEqualOption
    mergeOneOption
    showDefs
    showOption
    ;
  inherit (lib.modules) evalModules mergeDefinitions;

  mkOptionType =
    t:
    {
      _type = "option-type";
      description = t.name;
      descriptionClass = null;
      check = _: true;
      merge = mergeOneOption;
      emptyValue = { };
      getSubOptions = _: { };
      getSubModules = null;
      join =
        other:
        if other.name == t.name && other.description == (t.description or t.name) then other else null;
    }
    // t;
  noun =
    name: description: check:
    mkOptionType {
      inherit name description check;
      descriptionClass = "noun";
      merge = mergeEqualOption;
    };
  isNumber = x: isInt x || isFloat x;
  isPathLike = x: lib.isStringLike x && lib.hasPrefix "/" (toString x);

  # A type's description inside another one's.
  phrase = plain: t: if elem t.descriptionClass plain then t.description else "(${t.description})";
  simple = phrase [ "noun" ];
  chained = phrase [
    "noun"
    "composite"
  ];
  joined = phrase [
    "noun"
    "conjunction"
  ];

  valuesOf = map (def: def.value);

  types = rec {
    inherit mkOptionType;
    # Used by evalModules for options that are declared in several places.
    join = a: b: a.join b;

    # --- plain values ---
    unspecified = mkOptionType {
      name = "unspecified";
      description = "unspecified value";
      descriptionClass = "noun";
    };
    raw = mkOptionType {
      name = "raw";
      description = "raw value";
      descriptionClass = "noun";
    };
    optionType = mkOptionType {
      name = "optionType";
      descriptionClass = "noun";
      check = value: value._type or null == "option-type";
    };
    bool = noun "bool" "boolean" builtins.isBool;
    int = noun "int" "signed integer" isInt;
    float = noun "float" "floating point number" isFloat;
    number = either int float;
    str = noun "str" "string" isString;
    string = str;
    nonEmptyStr = noun "nonEmptyStr" "non-empty string" (x: isString x && match "[ \t\n]*" x == null);
    singleLineStr =
      noun "singleLineStr" "(optionally newline-terminated) single-line string" (
        x: isString x && match "[^\n\r]*\n?" x != null
      )
      // {
        merge = loc: defs: lib.removeSuffix "\n" (mergeEqualOption loc defs);
      };
    strMatching =
      pattern:
      noun "strMatching ${lib.escapeNixString pattern}" "string matching the pattern ${pattern}" (
        x: isString x && match pattern x != null
      );
    separatedString =
      sep:
      noun "separatedString" "strings concatenated with ${builtins.toJSON sep}" isString
      // {
        merge = _: defs: builtins.concatStringsSep sep (valuesOf defs);
      };
    lines = separatedString "\n";
    commas = separatedString ",";
    envVar = separatedString ":";
    attrs = noun "attrs" "attribute set" isAttrs // {
      descriptionClass = null;
      emptyValue.value = { };
      merge = _: defs: lib.mergeAttrsList (valuesOf defs);
    };
    enum =
      values:
      let
        show =
          x:
          if isString x then
            ''"${x}"''
          else if builtins.isBool x then
            lib.boolToString x
          else
            toString x;
      in
      noun "enum" (
        if values == [ ] then
          "impossible (empty enum)"
        else if builtins.length values == 1 then
          "value ${show (head values)} (singular enum)"
        else
          "one of ${lib.concatMapStringsSep ", " show values}"
      ) (x: elem x values)
      // {
        descriptionClass = if builtins.length values < 2 then "noun" else "conjunction";
      };

    # --- numbers in a range ---
    ints =
      let
        limits = low: high: "between ${toString low} and ${toString high} (both inclusive)";
        within =
          low: high: x:
          isInt x && x >= low && x <= high;
        least =
          name: description: low:
          noun name description (x: isInt x && x >= low) // { descriptionClass = "nonRestrictiveClause"; };
        unsigned =
          bits: high:
          noun "unsignedInt${toString bits}" "${toString bits} bit unsigned integer; ${limits 0 high}" (
            within 0 high
          );
      in
      {
        between = low: high: noun "intBetween" "integer ${limits low high}" (within low high);
        unsigned = least "unsignedInt" "unsigned integer, meaning >=0" 0;
        positive = least "positiveInt" "positive integer, meaning >0" 1;
        u8 = unsigned 8 255;
        u16 = unsigned 16 65535;
        u32 = unsigned 32 4294967295;
      };
    port = ints.u16;

    # --- paths and packages ---
    pathWith =
      {
        inStore ? null,
        absolute ? null,
      }:
      noun "path"
        (
          lib.optionalString (absolute != null) (if absolute then "absolute " else "relative ")
          + "path"
          + lib.optionalString (inStore != null) (
            if inStore then " in the Nix store" else " not in the Nix store"
          )
        )
        (
          x:
          lib.isStringLike x
          && (absolute == null || absolute == isPathLike x)
          # A path value (not a string) outside the store would be copied into it.
          && (
            inStore == null
            || inStore == (builtins.isPath x || lib.hasPrefix "${builtins.storeDir}/" (toString x))
          )
        );
    path = pathWith { absolute = true; };
    pathInStore = pathWith { inStore = true; };
    externalPath = pathWith {
      absolute = true;
      inStore = false;
    };
    package = noun "package" "package" (x: lib.isDerivation x || lib.isStorePath x) // {
      merge = mergeOneOption;
    };
    pkgs = noun "pkgs" "Nixpkgs package set" (x: x._type or null == "pkgs") // {
      merge = mergeOneOption;
    };

    # --- types of types ---
    nullOr =
      t:
      mkOptionType {
        name = "nullOr";
        description = "null or ${joined t}";
        descriptionClass = "conjunction";
        check = x: x == null || t.check x;
        merge =
          loc: defs:
          let
            nulls = filter (def: def.value == null) defs;
          in
          if nulls == [ ] then
            t.merge loc defs
          else if builtins.length nulls == builtins.length defs then
            null
          else
            throw "The option `${showOption loc}' is defined both null and not null:${showDefs defs}";
        emptyValue.value = null;
        inherit (t) getSubOptions getSubModules;
      };

    either =
      a: b:
      mkOptionType {
        name = "either";
        description =
          if a.descriptionClass == "nonRestrictiveClause" then
            "${a.description}, or ${joined b}"
          else
            "${joined a} or ${
              phrase [
                "noun"
                "conjunction"
                "composite"
              ] b
            }";
        descriptionClass = "conjunction";
        check = x: a.check x || b.check x;
        merge =
          loc: defs:
          if all (def: a.check def.value) defs then
            a.merge loc defs
          else if all (def: b.check def.value) defs then
            b.merge loc defs
          else
            mergeOneOption loc defs;
      };
    oneOf =
      ts:
      if ts == [ ] then
        throw "types.oneOf needs at least one type"
      else
        lib.foldl' either (head ts) (builtins.tail ts);

    coercedTo =
      from: convert: to:
      mkOptionType {
        name = "coercedTo";
        description = "${simple to} or ${simple from} convertible to it";
        check = x: (from.check x && to.check (convert x)) || to.check x;
        merge =
          loc: defs:
          to.merge loc (
            map (def: def // { value = if from.check def.value then convert def.value else def.value; }) defs
          );
        inherit (to) emptyValue getSubOptions getSubModules;
      };
    addCheck = t: extra: t // { check = x: t.check x && extra x; };
    unique =
      { message }:
      t:
      t
      // {
        merge =
          loc: defs:
          if builtins.length defs == 1 then
            t.merge loc defs
          else
            throw "The option `${showOption loc}' is defined multiple times while it's expected to be unique.\n${message}\nDefinition values:${showDefs defs}";
      };
    uniq = unique { message = ""; };
    nonEmptyListOf =
      t:
      addCheck (listOf t) (xs: xs != [ ])
      // {
        emptyValue = { };
        description = "non-empty ${simple (listOf t)}";
      };

    listOf =
      t:
      mkOptionType {
        name = "listOf";
        description = "list of ${chained t}";
        descriptionClass = "composite";
        check = isList;
        merge =
          loc: defs:
          builtins.concatLists (
            lib.imap1 (
              n: def:
              builtins.concatLists (
                lib.imap1 (
                  m: value:
                  let
                    merged = mergeDefinitions (loc ++ [ "[definition ${toString n}-entry ${toString m}]" ]) t [
                      {
                        inherit (def) file;
                        inherit value;
                      }
                    ];
                  in
                  lib.optional merged.isDefined merged.value
                ) def.value
              )
            ) defs
          );
        emptyValue.value = [ ];
        getSubOptions = loc: t.getSubOptions (loc ++ [ "*" ]);
        inherit (t) getSubModules;
      };

    attrsOf = attrsWith false;
    # Its attributes' names do not depend on the conditions of their definitions.
    lazyAttrsOf = attrsWith true;
    attrsWith =
      lazy: t:
      mkOptionType {
        name = if lazy then "lazyAttrsOf" else "attrsOf";
        description = "${lib.optionalString lazy "lazy "}attribute set of ${chained t}";
        descriptionClass = "composite";
        check = isAttrs;
        merge =
          loc: defs:
          let
            merged = builtins.zipAttrsWith (name: mergeDefinitions (loc ++ [ name ]) t) (
              map (
                def:
                mapAttrs (_: value: {
                  inherit (def) file;
                  inherit value;
                }) def.value
              ) defs
            );
          in
          if lazy then
            mapAttrs (_: m: if m.isDefined then m.value else t.emptyValue.value or m.value) merged
          else
            mapAttrs (_: m: m.value) (lib.filterAttrs (_: m: m.isDefined) merged);
        emptyValue.value = { };
        getSubOptions = loc: t.getSubOptions (loc ++ [ "<name>" ]);
        inherit (t) getSubModules;
      };

    # Anything: sets are merged all the way down, other things must agree.
    anything = mkOptionType {
      name = "anything";
      descriptionClass = "noun";
      merge =
        loc: defs:
        let
          kind = x: if isAttrs x && lib.isStringLike x then "string-like" else builtins.typeOf x;
          first = kind (head defs).value;
        in
        if !all (def: kind def.value == first) defs then
          throw "The option `${showOption loc}' has conflicting option types in ${
            lib.concatMapStringsSep " and " (def: "`${def.file}'") defs
          }"
        else if first == "set" then
          (attrsOf anything).merge loc defs
        else if first == "string-like" then
          mergeOneOption loc defs
        else if first == "lambda" then
          x: anything.merge (loc ++ [ "<function body>" ]) (map (def: def // { value = def.value x; }) defs)
        else
          mergeEqualOption loc defs;
    };

    functionTo =
      t:
      mkOptionType {
        name = "functionTo";
        description = "function that evaluates to a(n) ${chained t}";
        descriptionClass = "composite";
        check = isFunction;
        merge =
          loc: defs: x:
          (mergeDefinitions (loc ++ [ "<function body>" ]) t (
            map (def: def // { value = def.value x; }) defs
          )).value;
      };

    # --- modules as values ---
    deferredModule = mkOptionType {
      name = "deferredModule";
      description = "module";
      descriptionClass = "noun";
      check = x: isAttrs x || isFunction x || lib.types.path.check x;
      merge = loc: defs: {
        imports = map (
          def: lib.setDefaultModuleLocation "${toString def.file}, via option ${showOption loc}" def.value
        ) defs;
      };
    };

    submodule =
      modules:
      submoduleWith {
        modules = lib.toList modules;
        shorthandOnlyDefinesConfig = true;
      };
    submoduleWith =
      arguments@{
        modules,
        specialArgs ? { },
        shorthandOnlyDefinesConfig ? false,
        description ? null,
        class ? null,
      }:
      let
        asModule =
          def:
          if isAttrs def.value && shorthandOnlyDefinesConfig then
            {
              _file = def.file;
              config = def.value;
            }
          else
            lib.setDefaultModuleLocation def.file def.value;
        evaluate =
          loc: name: extra:
          evalModules {
            inherit specialArgs class;
            prefix = loc;
            modules =
              modules
              ++ [
                { _module.args.name = lib.mkOptionDefault name; }
              ]
              ++ extra;
          };
        # For documents: what is declared, whatever is defined.
        declared = loc: evaluate loc "‹name›" [ { _module.check = false; } ];
        free = (declared [ ])._module.freeformType;
      in
      mkOptionType {
        name = "submodule";
        description =
          if description != null then
            description
          else if free != null then
            "open submodule of ${chained free}"
          else
            "submodule";
        descriptionClass = null;
        check =
          x:
          isAttrs x
          || isFunction x
          || (!shorthandOnlyDefinesConfig && lib.types.path.check x)
          || builtins.isPath x;
        merge = loc: defs: (evaluate loc (lib.last loc) (map asModule defs)).config;
        emptyValue.value = { };
        getSubOptions =
          loc:
          let
            evaluated = declared loc;
            inner = builtins.removeAttrs evaluated.options [ "_module" ];
            freeform = evaluated._module.freeformType;
          in
          inner
          // lib.optionalAttrs (freeform != null) {
            # Options inside the free-form type's own submodules.
            _freeformOptions = freeform.getSubOptions loc;
          };
        getSubModules = modules;
        join =
          other:
          if other.name == "submodule" then
            submoduleWith (arguments // { modules = modules ++ other.getSubModules; })
          else
            null;
      };
  };
in
types
