# What our lib must answer, and nixpkgs' own must answer too: { name = { got; want; }; }, evaluated over either.
#
#   nix eval --impure --json --expr 'import ./cases.nix { lib = import ./.; }'           the failures; none is `{}`
#   … { lib = import PATH-TO-NIXPKGS/lib; }
{ lib }:
let
  inherit (lib) mkOption types;
  case = got: want: { inherit got want; };
  eval = modules: (lib.evalModules { inherit modules; }).config;
  fails = value: !(builtins.tryEval (builtins.deepSeq value true)).success;
  option = type: { options.x = mkOption { inherit type; }; };
  # The value that definitions of one type make together; "fails" when they cannot.
  merge =
    type: definitions:
    let
      value = (eval ([ (option type) ] ++ map (x: { inherit x; }) definitions)).x;
    in
    if fails value then "fails" else value;
  described = type: (mkOption { inherit type; }).type.description;
  settings =
    { config, ... }:
    {
      freeformType = types.attrsOf (types.either types.int types.str);
      options.port = mkOption {
        type = types.port;
        default = 9000;
      };
    };
  service =
    { name, config, ... }:
    {
      options = {
        title = mkOption {
          type = types.str;
          default = "the ${name}";
        };
        length = mkOption {
          type = types.int;
          readOnly = true;
        };
      };
      config.length = builtins.stringLength config.title;
    };

  cases = {
    # --- basics ---
    recursive-update =
      case
        (lib.recursiveUpdate {
          a.b = 1;
          a.c = 2;
        } { a.b = 3; })
        {
          a = {
            b = 3;
            c = 2;
          };
        };
    filter-attrs = case (lib.filterAttrs (_: v: v > 1) {
      a = 1;
      b = 2;
    }) { b = 2; };
    map-attrs' = case (lib.mapAttrs' (n: v: lib.nameValuePair (lib.toUpper n) v) { a = 1; }) { A = 1; };
    flatten =
      case
        (lib.flatten [
          1
          [
            2
            [ 3 ]
          ]
        ])
        [
          1
          2
          3
        ];
    unique =
      case
        (lib.unique [
          1
          2
          1
        ])
        [
          1
          2
        ];
    last = case (lib.last [
      1
      2
    ]) 2;
    imap =
      case
        (lib.imap0 (i: x: "${toString i}${x}") [
          "a"
          "b"
        ])
        [
          "0a"
          "1b"
        ];
    fold = case (lib.foldr (a: b: a + b) "." [
      "a"
      "b"
    ]) "ab.";
    sublists =
      case
        [
          (lib.take 1 [
            1
            2
          ])
          (lib.drop 1 [
            1
            2
          ])
          (lib.take 5 [ 1 ])
        ]
        [
          [ 1 ]
          [ 2 ]
          [ 1 ]
        ];
    by-path = case (lib.attrByPath [ "a" "b" ] 0 { a.b = 1; }) 1;
    by-path-missing = case (lib.attrByPath [ "a" "c" ] 0 { a.b = 1; }) 0;
    split = case (lib.splitString "." "a.b..c") [
      "a"
      "b"
      ""
      "c"
    ];
    affixes =
      case
        [
          (lib.removePrefix "ab" "abc")
          (lib.removeSuffix "bc" "abc")
          (lib.removePrefix "x" "abc")
          (lib.hasPrefix "a" "abc")
          (lib.hasSuffix "abcd" "abc")
          (lib.hasInfix "b" "abc")
        ]
        [ "c" "a" "abc" true false true ];
    shell-words = case (lib.escapeShellArgs [
      "a"
      "b c"
      "d'e"
      ""
      "f=g"
      "$h"
    ]) "a 'b c' 'd'\\''e' '' 'f=g' '$h'";
    versions =
      case
        [ (lib.versions.major "17.10") (lib.versions.majorMinor "1.2.3") (lib.versionAtLeast "1.10" "1.9") ]
        [ "17" "1.2" true ];
    store-paths =
      case
        (map lib.isStorePath [
          "${builtins.storeDir}/x"
          "${builtins.storeDir}/x/y"
          "/etc"
        ])
        [
          true
          false
          false
        ];
    programs =
      case
        [
          (lib.getExe' {
            outPath = "/p";
            type = "derivation";
          } "q")
          (lib.makeBinPath [
            "/a"
            "/b"
          ])
        ]
        [ "/p/bin/q" "/a/bin:/b/bin" ];

    # --- merging definitions ---
    int-agree = case (merge types.int [
      1
      1
    ]) 1;
    int-conflict = case (merge types.int [
      1
      2
    ]) "fails";
    lists-join =
      case
        (merge (types.listOf types.int) [
          [ 1 ]
          [ 2 ]
        ])
        [
          2
          1
        ];
    list-order =
      case
        (merge (types.listOf types.int) [
          (lib.mkAfter [ 3 ])
          [ 2 ]
          (lib.mkBefore [ 1 ])
        ])
        [
          1
          2
          3
        ];
    list-conditions = case (merge (types.listOf types.int) [
      [
        (lib.mkIf false 1)
        2
      ]
    ]) [ 2 ];
    lines = case (merge types.lines [
      "a"
      "b"
    ]) "b\na";
    priorities = case (merge types.int [
      (lib.mkDefault 1)
      2
      (lib.mkForce 3)
    ]) 3;
    default-loses = case (merge types.int [
      (lib.mkDefault 1)
      2
    ]) 2;
    conditions = case (merge types.int [
      (lib.mkIf false 1)
      (lib.mkIf true 2)
    ]) 2;
    merged =
      case
        (merge (types.listOf types.str) [
          (lib.mkMerge [
            [ "a" ]
            (lib.mkIf true [ "b" ])
          ])
        ])
        [
          "a"
          "b"
        ];
    nothing = case (merge types.int [ ]) "fails";
    nothing-empty =
      case
        [
          (merge (types.listOf types.int) [ ])
          (merge (types.attrsOf types.int) [ ])
          (merge (types.nullOr types.int) [ ])
        ]
        [
          [ ]
          { }
          null
        ];
    attrs-join =
      case
        (merge (types.attrsOf types.int) [
          { a = 1; }
          {
            b = 2;
            c = lib.mkIf false 3;
          }
        ])
        {
          a = 1;
          b = 2;
        };
    anything-deep =
      case
        (merge types.anything [
          { a.b = 1; }
          { a.c = [ 2 ]; }
        ])
        {
          a = {
            b = 1;
            c = [ 2 ];
          };
        };
    either-second = case (merge (types.either types.int types.str) [ "a" ]) "a";
    one-of =
      case
        (map
          (
            x:
            merge (types.oneOf [
              types.bool
              types.int
              types.str
            ]) [ x ]
          )
          [
            true
            1
            "a"
            [ ]
          ]
        )
        [
          true
          1
          "a"
          "fails"
        ];
    coerced = case (merge (types.coercedTo types.int toString types.str) [ 3 ]) "3";
    enum =
      case
        (map
          (
            x:
            merge (types.enum [
              "a"
              "b"
            ]) [ x ]
          )
          [
            "a"
            "c"
          ]
        )
        [
          "a"
          "fails"
        ];
    null-and-value = case (merge (types.nullOr types.int) [
      null
      1
    ]) "fails";
    functions = case (
      (eval [
        (option (types.functionTo types.int))
        { x = y: y + 1; }
      ]).x
      1
    ) 2;

    # --- what types take ---
    port =
      case
        (map (x: merge types.port [ x ]) [
          0
          65535
          65536
          (-1)
          "80"
        ])
        [
          0
          65535
          "fails"
          "fails"
          "fails"
        ];
    ranges =
      case
        (map (x: merge (types.ints.between 1 3) [ x ]) [
          1
          4
        ])
        [
          1
          "fails"
        ];
    positive =
      case
        (map (x: merge types.ints.positive [ x ]) [
          1
          0
        ])
        [
          1
          "fails"
        ];
    number =
      case
        (map (x: merge types.number [ x ]) [
          1
          1.5
          "1"
        ])
        [
          1
          1.5
          "fails"
        ];
    strings =
      case
        [
          (merge types.nonEmptyStr [ " " ])
          (merge types.singleLineStr [ "a\n" ])
          (merge types.singleLineStr [ "a\nb" ])
          (merge (types.strMatching "[a-z]+") [ "a1" ])
        ]
        [ "fails" "a" "fails" "fails" ];
    paths =
      case
        (map (x: merge types.path [ x ]) [
          "/a"
          "a"
        ])
        [
          "/a"
          "fails"
        ];
    outside-the-store =
      case
        (map
          (
            x:
            merge (types.pathWith {
              inStore = false;
              absolute = true;
            }) [ x ]
          )
          [
            "/run/x"
            "${builtins.storeDir}/00000000000000000000000000000000-x"
            "run/x"
          ]
        )
        [
          "/run/x"
          "fails"
          "fails"
        ];
    path-value-outside-the-store = case (
      fails (
        merge (types.pathWith {
          inStore = false;
          absolute = true;
        }) [ ./cases.nix ]
      )
      ||
        merge (types.pathWith {
          inStore = false;
          absolute = true;
        }) [ ./cases.nix ] == "fails"
    ) true;

    # --- descriptions ---
    descriptions =
      case
        (map described [
          types.port
          (types.ints.between 1 3)
          types.ints.unsigned
          (types.nullOr (types.listOf types.str))
          (types.attrsOf (types.listOf types.int))
          (types.nullOr types.ints.positive)
          (types.either types.ints.positive types.str)
          (types.either types.str (types.listOf types.str))
          (types.oneOf [
            types.bool
            types.int
            types.str
          ])
          (types.listOf (
            types.enum [
              "a"
              "b"
            ]
          ))
          (types.enum [ "a" ])
          (types.pathWith {
            inStore = false;
            absolute = true;
          })
          types.path
          types.lines
          types.number
          (types.submodule { })
          (types.submodule settings)
          (types.listOf (types.submodule settings))
          (types.nullOr (types.submodule { }))
          (types.coercedTo types.int toString types.str)
          types.singleLineStr
          (types.lazyAttrsOf types.raw)
          types.package
          types.anything
          types.deferredModule
        ])
        [
          "16 bit unsigned integer; between 0 and 65535 (both inclusive)"
          "integer between 1 and 3 (both inclusive)"
          "unsigned integer, meaning >=0"
          "null or (list of string)"
          "attribute set of list of signed integer"
          "null or (positive integer, meaning >0)"
          "positive integer, meaning >0, or string"
          "string or list of string"
          "boolean or signed integer or string"
          ''list of (one of "a", "b")''
          ''value "a" (singular enum)''
          "absolute path not in the Nix store"
          "absolute path"
          ''strings concatenated with "\n"''
          "signed integer or floating point number"
          "submodule"
          "open submodule of attribute set of (signed integer or string)"
          "list of (open submodule of attribute set of (signed integer or string))"
          "null or (submodule)"
          "string or signed integer convertible to it"
          "(optionally newline-terminated) single-line string"
          "lazy attribute set of raw value"
          "package"
          "anything"
          "module"
        ];

    # --- modules ---
    unknown-option = case (fails (eval [ { y = 1; } ])) true;
    unknown-allowed = case (eval [
      {
        y = 1;
        _module.check = false;
      }
    ]) { };
    free-form =
      case
        (merge (types.submodule settings) [
          { a = 1; }
          {
            b = "c";
            port = 1;
          }
        ])
        {
          a = 1;
          b = "c";
          port = 1;
        };
    free-form-wrong = case (merge (types.submodule settings) [ { a = [ ]; } ]) "fails";
    submodules =
      case
        (merge (types.attrsOf (types.submodule service)) [
          { a = { }; }
          { b.title = "xyz"; }
        ])
        {
          a = {
            title = "the a";
            length = 5;
          };
          b = {
            title = "xyz";
            length = 3;
          };
        };
    read-only = case (merge (types.attrsOf (types.submodule service)) [ { a.length = 3; } ]) "fails";
    submodule-list =
      case
        (merge (types.listOf (types.submodule settings)) [
          [ { port = 1; } ]
          [ { } ]
        ])
        [
          { port = 9000; }
          { port = 1; }
        ];
    imports-once =
      case
        (eval [
          {
            imports = [
              ./cases-module.nix
              ./cases-module.nix
            ];
          }
          { words = [ "own" ]; }
        ]).words
        [
          "imported"
          "own"
        ];
    definition-order =
      case
        (eval [
          (option (types.listOf types.str))
          {
            imports = [
              { x = [ "b" ]; }
              { x = [ "c" ]; }
            ];
            x = [ "a" ];
          }
          { x = [ "d" ]; }
        ]).x
        [
          "c"
          "b"
          "d"
          "a"
        ];
    arguments =
      let
        module =
          { three, ... }:
          {
            x = three;
          };
      in
      case
        (eval [
          (option types.int)
          { _module.args.three = 3; }
          module
        ]).x
        3;
    special-arguments =
      let
        module =
          { four, ... }:
          {
            x = four;
          };
      in
      case
        (lib.evalModules {
          modules = [
            (option types.int)
            module
          ];
          specialArgs.four = 4;
        }).config.x
        4;
    shorthand-clash = case (fails (eval [
      (option types.int)
      {
        config = { };
        x = 1;
      }
    ])) true;
    conditional-set =
      let
        module = args: {
          options.on = mkOption { default = true; };
          config = lib.mkIf args.config.on { x = 1; };
        };
      in
      case
        (eval [
          (option types.int)
          module
        ]).x
        1;
    forced-set =
      case
        (eval [
          { options.a.b = mkOption { type = types.int; }; }
          { a.b = 1; }
          { a = lib.mkForce { b = 2; }; }
        ]).a.b
        2;
    apply =
      case
        (eval [
          {
            options.x = mkOption {
              type = types.int;
              apply = toString;
            };
          }
          { x = 1; }
        ]).x
        "1";
    twice-declared = case (fails (eval [
      {
        options.x = mkOption {
          type = types.int;
          default = 1;
        };
      }
      {
        options.x = mkOption {
          type = types.int;
          default = 1;
        };
      }
    ])) true;
    extended-submodule =
      case
        (eval [
          (option (types.submodule { options.a = mkOption { default = 1; }; }))
          (option (types.submodule { options.b = mkOption { default = 2; }; }))
          { x = { }; }
        ]).x
        {
          a = 1;
          b = 2;
        };
    is-defined =
      case
        (
          let
            ev = lib.evalModules {
              modules = [
                (option types.int)
                { x = 1; }
              ];
            };
          in
          [
            ev.options.x.isDefined
            ev.options.x.loc
            ev.options.x.highestPrio
          ]
        )
        [
          true
          [ "x" ]
          100
        ];
    extend =
      case
        ((lib.evalModules { modules = [ (option types.int) ]; }).extendModules {
          modules = [ { x = 5; } ];
        }).config.x
        5;
    wrong-class = case (fails
      (lib.evalModules {
        class = "nixos";
        modules = [ { _class = "homeManager"; } ];
      }).config
    ) true;
    disabled = case (eval [
      (option (types.listOf types.str))
      {
        imports = [ ./cases-module.nix ];
        disabledModules = [ ./cases-module.nix ];
        x = [ "a" ];
      }
    ]) { x = [ "a" ]; };
    renamed =
      case
        (
          let
            config = eval [
              {
                options.warnings = mkOption { type = types.listOf types.str; };
                options.new.x = mkOption { type = types.int; };
              }
              (lib.mkRenamedOptionModule [ "old" "y" ] [ "new" "x" ])
              { old.y = 7; }
            ];
          in
          [
            config.new.x
            config.old.y
            (builtins.length config.warnings)
          ]
        )
        [
          7
          7
          1
        ];
    package-option =
      case
        (eval [
          {
            options.p = lib.mkPackageOption {
              hello = {
                type = "derivation";
                name = "hello";
                outPath = "/h";
              };
            } "hello" { };
          }
        ]).p.name
        "hello";
    deferred =
      case
        (eval [
          (eval [
            (option types.deferredModule)
            { x.options.z = mkOption { default = 1; }; }
          ]).x
        ]).z
        1;

    # --- documents ---
    documents =
      case
        (map
          (o: {
            inherit (o)
              name
              type
              visible
              readOnly
              ;
            default = o.default.text or null;
          })
          (
            builtins.filter (o: builtins.head o.loc != "_module" && !lib.hasInfix "_module" o.name) (
              lib.optionAttrSetToDocList
                (lib.evalModules {
                  modules = [
                    {
                      options.services.x = {
                        enable = lib.mkEnableOption "it";
                        ports = mkOption {
                          type = types.listOf types.port;
                          default = [
                            1
                            2
                          ];
                        };
                        each = mkOption {
                          type = types.attrsOf (types.submodule service);
                          default = { };
                          defaultText = lib.literalExpression "none";
                        };
                        settings = mkOption { type = types.submodule settings; };
                      };
                    }
                  ];
                }).options
            )
          )
        )
        [
          {
            name = "services.x.each";
            type = "attribute set of (submodule)";
            visible = true;
            readOnly = false;
            default = "none";
          }
          {
            name = "services.x.each.<name>.length";
            type = "signed integer";
            visible = true;
            readOnly = true;
            default = null;
          }
          {
            name = "services.x.each.<name>.title";
            type = "string";
            visible = true;
            readOnly = false;
            default = "\"the ‹name›\"";
          }
          {
            name = "services.x.enable";
            type = "boolean";
            visible = true;
            readOnly = false;
            default = "false";
          }
          {
            name = "services.x.ports";
            type = "list of 16 bit unsigned integer; between 0 and 65535 (both inclusive)";
            visible = true;
            readOnly = false;
            default = "[\n  1\n  2\n]";
          }
          {
            name = "services.x.settings";
            type = "open submodule of attribute set of (signed integer or string)";
            visible = true;
            readOnly = false;
            default = null;
          }
          {
            name = "services.x.settings.port";
            type = "16 bit unsigned integer; between 0 and 65535 (both inclusive)";
            visible = true;
            readOnly = false;
            default = "9000";
          }
        ];

    # --- file sets ---
    files =
      case
        (
          let
            source = lib.fileset.toSource {
              root = ./.;
              fileset = lib.fileset.difference (lib.fileset.unions [
                ./cases-module.nix
                (lib.fileset.fileFilter (file: file.hasExt "nix" && lib.hasPrefix "f" file.name) ./.)
                (lib.fileset.maybeMissing ./no-such-file)
              ]) (lib.fileset.maybeMissing ./nor-this);
            };
          in
          builtins.attrNames (builtins.readDir "${source}")
        )
        [
          "cases-module.nix"
          "fileset.nix"
        ];
  };
in
lib.filterAttrs (_: c: c.got != c.want) cases
