# The module system: modules are collected, their option declarations and their definitions are laid over each other as
# trees, and each option's definitions are merged by its type. Values are computed when they are asked for.
{ lib }:
let
  inherit (builtins)
    concatMap
    filter
    foldl'
    head
    isAttrs
    isFunction
    length
    mapAttrs
    ;
  inherit (lib.options)
    isOption
    mkIf
    mkMerge
    mkOption
    mkOptionDefault
    mkOverride
    showDefs
    showOption
    defaultOverridePriority
    defaultOrderPriority
    ;
  inherit (lib) types;

  unknownFile = "<unknown-file>";

  # --- loading -------------------------------------------------------------------------------------------------------

  # A module, however it was written, as { file key imports options config disabled }. `args` are what functions get.
  load =
    args: fallback: module:
    let
      isPath = builtins.isPath module || builtins.isString module;
      value = if isPath then import module else module;
      file = if isPath then toString module else fallback.file;
      key = if isPath then toString module else fallback.key;
    in
    if value._type or null == "override" || value._type or null == "if" then
      normalise file key { config = value; }
    else
      normalise file key (apply args file value);

  apply =
    args: file: value:
    if isFunction value then
      let
        named = mapAttrs (
          name: _:
          builtins.addErrorContext "while evaluating the module argument `${name}' in \"${file}\":" (
            args.${name} or args.config._module.args.${name}
          )
        ) (builtins.functionArgs value);
      in
      apply args file (value (args // named))
    else
      value;

  normalise =
    file': key': m:
    let
      file = toString (m._file or file');
      key = toString (m.key or key');
      structured = m ? config || m ? options;
      known = [
        "_class"
        "_file"
        "key"
        "disabledModules"
        "imports"
        "options"
        "config"
        "meta"
        "freeformType"
      ];
      strange = builtins.attrNames (builtins.removeAttrs m known);
      config =
        if structured then
          m.config or { }
        else
          builtins.removeAttrs m (lib.remove "meta" (lib.remove "config" known));
    in
    if !isAttrs m then
      throw "module ${file} (${key}) does not look like a module."
    else if structured && strange != [ ] then
      throw "Module `${key}' has an unsupported attribute `${head strange}'. This is caused by introducing a top-level `config' or `options' attribute. Add configuration attributes immediately on the top level instead, or move all of them (namely: ${toString strange}) into the explicit `config' attribute."
    else
      {
        inherit file key;
        imports = m.imports or [ ];
        disabled = m.disabledModules or [ ];
        class = m._class or null;
        options = m.options or { };
        config = mkMerge (
          [ config ]
          ++ lib.optional (structured && m ? meta) { inherit (m) meta; }
          ++ lib.optional (m ? freeformType) { _module.freeformType = m.freeformType; }
        );
      };

  # All modules with what they import, each once, later ones first: that is the order in which lists are joined.
  collect =
    class: args: modules:
    let
      children =
        parent: imports:
        lib.imap1 (
          n: module:
          let
            fallback = {
              file = parent.file;
              key = "${parent.key}:anon-${toString n}";
            };
          in
          if builtins.isList module then
            throw "Module imports can't be nested lists. Perhaps you meant to remove one level of lists?"
          else
            load args fallback module
        ) imports;
      closure = builtins.genericClosure {
        startSet = children {
          file = unknownFile;
          key = "";
        } modules;
        operator = m: children m m.imports;
      };
      disabled = concatMap (m: map (d: toString (d.key or d)) m.disabled) closure;
      checkClass =
        m:
        if class != null && m.class != null && m.class != class then
          throw "The module `${m.file}` (class: \"${m.class}\") cannot be imported into a module evaluation that expects class \"${class}\"."
        else
          m;
    in
    map checkClass (lib.reverseList (filter (m: !builtins.elem m.key disabled) closure));

  # --- laying trees over each other ----------------------------------------------------------------------------------

  # A definition of a whole set, taken apart into sets whose attributes carry the properties.
  pushDown =
    value:
    if value._type or null == "merge" then
      concatMap pushDown value.contents
    else if value._type or null == "if" then
      map (mapAttrs (_: mkIf value.condition)) (pushDown value.content)
    else if value._type or null == "override" then
      map (mapAttrs (_: mkOverride value.priority)) (pushDown value.content)
    else
      [ value ];

  # { options, values, unmatched } of a place in the tree. `decls` and `defs` are lists of { file, value }.
  mergeTree =
    loc: decls: defs:
    let
      declared = builtins.zipAttrsWith (_: values: values) (
        map (decl: mapAttrs (_: value: decl // { inherit value; }) decl.value) decls
      );
      sets = concatMap (
        def:
        map (
          value:
          if isAttrs value then
            mapAttrs (_: value: {
              inherit (def) file;
              inherit value;
            }) value
          else
            throw "The option `${showOption loc}' has options below it, so its definition has to be an attribute set.${showDefs [ def ]}"
        ) (pushDown def.value)
      ) defs;
      defined = builtins.zipAttrsWith (_: values: values) sets;
      children = mapAttrs (
        name: ds:
        let
          here = loc ++ [ name ];
          leaves = filter (d: isOption d.value) ds;
          mine = defined.${name} or [ ];
        in
        if leaves == [ ] then
          mergeTree here ds mine
        else if length leaves < length ds then
          throw "The option `${showOption here}' in module `${(head leaves).file}' would be a parent of other options."
        else
          let
            option = evalOption here (mergeDeclarations here leaves) mine;
          in
          {
            options = option;
            values = option.value;
            unmatched = [ ];
          }
      ) declared;
    in
    {
      options = mapAttrs (_: child: child.options) children;
      values = mapAttrs (_: child: child.values) children;
      unmatched =
        concatMap (child: child.unmatched) (builtins.attrValues children)
        ++ concatMap (name: map (def: def // { loc = loc ++ [ name ]; }) defined.${name}) (
          builtins.attrNames (builtins.removeAttrs defined (builtins.attrNames declared))
        );
    };

  # One option may be declared in several places when the declarations do not contradict each other.
  mergeDeclarations =
    loc: decls:
    foldl'
      (
        merged: decl:
        let
          clash = filter (key: merged ? ${key} && decl.value ? ${key}) [
            "default"
            "example"
            "description"
            "apply"
          ];
          joined =
            if merged ? type && decl.value ? type then types.join merged.type decl.value.type else null;
        in
        if
          merged.declarations != [ ]
          && (clash != [ ] || (merged ? type && decl.value ? type && joined == null))
        then
          throw "The option `${showOption loc}' in `${decl.file}' is already declared in ${
            lib.concatMapStringsSep " and " (f: "`${f}'") merged.declarations
          }."
        else
          merged
          // decl.value
          // lib.optionalAttrs (joined != null) { type = joined; }
          // {
            declarations = merged.declarations ++ [ decl.file ];
          }
      )
      {
        inherit loc;
        declarations = [ ];
      }
      decls;

  evalOption =
    loc: declared: defs:
    let
      option = {
        type = types.unspecified;
      }
      // declared;
      withDefault =
        lib.optional (option ? default) {
          file = head option.declarations;
          value = mkOptionDefault option.default;
        }
        ++ defs;
      merged =
        if option.readOnly or false && length defs > lib.boolToInt (!(option ? default)) then
          throw "The option `${showOption loc}' is read-only, but it's set multiple times. Definition values:${showDefs defs}"
        else
          mergeDefinitions loc option.type withDefault;
      value = if option ? apply then option.apply merged.value else merged.value;
    in
    option
    // {
      value = builtins.addErrorContext "while evaluating the option `${showOption loc}':" value;
      inherit loc;
      inherit (merged) isDefined highestPrio;
      definitions = map (def: def.value) merged.defs;
      definitionsWithLocations = merged.defs;
      files = map (def: def.file) merged.defs;
      options = option.type.getSubOptions loc;
      __toString = _: showOption loc;
    };

  # --- definitions of one option -------------------------------------------------------------------------------------

  # Definitions without mkIf and mkMerge: those whose condition holds.
  discharge =
    value:
    if value._type or null == "merge" then
      concatMap discharge value.contents
    else if value._type or null == "if" then
      if !builtins.isBool value.condition then
        throw "mkIf called with a non-Boolean condition"
      else
        lib.optionals value.condition (discharge value.content)
    else
      [ value ];

  strip = wrapper: value: if value._type or null == wrapper then value.content else value;

  mergeDefinitions =
    loc: type: definitions:
    let
      there = concatMap (
        def:
        map
          (value: {
            inherit (def) file;
            inherit value;
          })
          (
            builtins.addErrorContext "while evaluating definitions from `${toString def.file}':" (
              discharge def.value
            )
          )
      ) definitions;
      priority =
        def: if def.value._type or null == "override" then def.value.priority else defaultOverridePriority;
      highestPrio = foldl' (best: def: lib.min best (priority def)) 9999 there;
      strongest = map (def: def // { value = strip "override" def.value; }) (
        filter (def: priority def == highestPrio) there
      );
      order =
        def: if def.value._type or null == "order" then def.value.priority else defaultOrderPriority;
      defs = map (def: def // { value = strip "order" def.value; }) (
        builtins.sort (a: b: order a < order b) strongest
      );
      wrong = filter (def: !type.check def.value) defs;
    in
    {
      inherit defs highestPrio;
      isDefined = defs != [ ];
      value =
        if defs == [ ] then
          type.emptyValue.value
            or (throw "The option `${showOption loc}' was accessed but has no value defined. Try setting the option.")
        else if wrong != [ ] then
          throw "A definition for option `${showOption loc}' is not of type `${type.description}'. Definition values:${showDefs wrong}"
        else
          type.merge loc defs;
    };

  # --- the whole -----------------------------------------------------------------------------------------------------

  internals.options._module = {
    args = mkOption {
      type = types.lazyAttrsOf types.raw;
      description = "Further arguments of modules that are functions.";
      internal = true;
    };
    check = mkOption {
      type = types.bool;
      default = true;
      description = "Whether a definition of an option that is not declared is an error.";
      internal = true;
    };
    freeformType = mkOption {
      type = types.nullOr types.optionType;
      default = null;
      description = "The type of all that is defined and not declared.";
      internal = true;
    };
    specialArgs = mkOption {
      type = types.raw;
      readOnly = true;
      description = "Arguments that can be used in `imports` too.";
      internal = true;
    };
  };

  evalModules =
    arguments@{
      modules,
      specialArgs ? { },
      class ? null,
      prefix ? [ ],
      ...
    }:
    let
      args = {
        inherit
          lib
          config
          options
          specialArgs
          ;
        _class = class;
        _prefix = prefix;
      }
      // specialArgs;
      collected = collect class args (
        modules
        ++ [
          (
            internals
            // {
              config._module.specialArgs = specialArgs;
              _file = "lib/modules.nix";
              key = "internals";
            }
          )
        ]
      );
      tree =
        mergeTree prefix
          (map (m: {
            inherit (m) file;
            value = m.options;
          }) collected)
          (
            map (m: {
              inherit (m) file;
              value = m.config;
            }) collected
          );
      options = tree.options;
      free = tree.values._module.freeformType;
      # What is not declared, merged by the free-form type: each definition wrapped in the sets that lead to it.
      freeform = free.merge prefix (
        map (def: {
          inherit (def) file;
          value = lib.setAttrByPath (lib.drop (length prefix) def.loc) def.value;
        }) tree.unmatched
      );
      config = if free == null then tree.values else lib.recursiveUpdate freeform tree.values;
      unknown = head tree.unmatched;
      checked =
        if tree.values._module.check && free == null && tree.unmatched != [ ] then
          throw "The option `${showOption unknown.loc}' does not exist. Definition values:${showDefs [ unknown ]}"
        else
          config;
    in
    {
      _type = "configuration";
      inherit class options;
      config = builtins.removeAttrs checked [ "_module" ];
      _module = checked._module;
      type = types.submoduleWith { inherit modules specialArgs class; };
      extendModules =
        extra:
        evalModules (
          arguments
          // {
            modules = modules ++ extra.modules or [ ];
            specialArgs = specialArgs // extra.specialArgs or { };
            prefix = extra.prefix or prefix;
          }
        );
    };
in
{
  inherit evalModules mergeDefinitions;

  setDefaultModuleLocation = file: module: {
    _file = file;
    imports = [ module ];
  };
  # A file that is a function from something to a module, with its own place in messages.
  importApply = file: arg: {
    _file = toString file;
    imports = [ (import file arg) ];
  };
}
