# stdenv and the small builders, with the arguments and results of nixpkgs' that we use.
#
# Impure: builders run the machine's own bash and coreutils, unsandboxed.
{ lib, system }:
let
  # What describes a package and is no business of its build.
  described = [
    "meta"
    "passthru"
    "env"
    "pname"
    "finalPackage"
  ];

  # nixpkgs' mkDerivation: `args`, or a function from the finished package to them.
  mkDerivation =
    argsOrFunction:
    let
      function = if lib.isFunction argsOrFunction then argsOrFunction else _: argsOrFunction;
      args = function (args // { finalPackage = package; });
      name = args.name or "${args.pname}-${args.version}";
      structured = args.__structuredAttrs or false;
      attributes = lib.filterAttrs (_: value: value != null) (
        removeAttrs args described
        // lib.optionalAttrs (!structured) (args.env or { })
        // lib.optionalAttrs (args ? pname) { inherit (args) pname; }
      );
      drv = derivation (
        {
          inherit system;
          builder = "/bin/bash";
          args = [ ./setup.sh ];
        }
        // attributes
        // {
          inherit name;
        }
      );
      package =
        drv
        // {
          inherit name;
          version = args.version or "";
          pname = args.pname or name;
          passthru = args.passthru or { };
          meta = {
            inherit name;
          }
          // args.meta or { };
          src = args.src or null;
          overrideAttrs =
            change:
            mkDerivation (
              final:
              let
                old = function final;
              in
              old // (if lib.isFunction (change old) then change final old else change old)
            );
        }
        // args.passthru or { };
    in
    package;

  runCommand =
    name: attributes: command:
    mkDerivation (
      attributes
      // {
        inherit name;
        buildCommand = command;
      }
    );

  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      checkPhase ? "",
      meta ? { },
      passthru ? { },
      derivationArgs ? { },
    }:
    mkDerivation (
      derivationArgs
      // {
        inherit
          name
          text
          meta
          passthru
          ;
        passAsFile = [ "text" ];
        buildCommand = ''
          target=$out${destination}
          mkdir -p "$(dirname "$target")"
          cp "$textPath" "$target"
          ${lib.optionalString executable ''chmod +x "$target"''}
          ${checkPhase}
        '';
      }
    );
  writeText = name: text: writeTextFile { inherit name text; };

  # bash is the machine's own here; nixpkgs gives one of the store.
  shellScript = text: "#!/bin/bash\n${text}";
  writeShellScript =
    name: text:
    writeTextFile {
      inherit name;
      text = shellScript text;
      executable = true;
      checkPhase = ''bash -n "$target"'';
    };
  writeShellScriptBin =
    name: text:
    writeTextFile {
      inherit name;
      text = shellScript text;
      executable = true;
      destination = "/bin/${name}";
      checkPhase = ''bash -n "$target"'';
      meta.mainProgram = name;
    };
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      runtimeEnv ? { },
      meta ? { },
      passthru ? { },
      checkPhase ? ''
        bash -n "$target"
        /usr/bin/shellcheck ${
          lib.concatMapStringsSep " " (check: "--exclude ${check}") excludeShellChecks
        } "$target"
      '',
      excludeShellChecks ? [ ],
    }:
    writeTextFile {
      inherit name passthru checkPhase;
      text = shellScript (
        ''
          set -o errexit -o nounset -o pipefail
        ''
        + lib.concatStringsSep "" (
          lib.mapAttrsToList (name: value: "export ${name}=${lib.escapeShellArg value}\n") runtimeEnv
        )
        + lib.optionalString (runtimeInputs != [ ]) ''
          export PATH="${lib.makeBinPath runtimeInputs}:$PATH"
        ''
        + text
      );
      executable = true;
      destination = "/bin/${name}";
      meta = {
        mainProgram = name;
      }
      // meta;
    };

  # One tree of links to the files of all `paths`; the first wins.
  symlinkJoin =
    args@{
      paths,
      postBuild ? "",
      ...
    }:
    mkDerivation (
      removeAttrs args [ "postBuild" ]
      // {
        inherit paths;
        buildCommand = ''
          mkdir -p "$out"
          cd "$out"
          for path in $paths; do
            cp -rs --update=none --no-preserve=mode "$path"/* .
          done
          ${postBuild}
        '';
      }
    );

  linkFarm =
    name: entries:
    let
      list =
        if lib.isAttrs entries then
          lib.mapAttrsToList (name: path: { inherit name path; }) entries
        else
          entries;
    in
    runCommand name
      { passthru.entries = lib.listToAttrs (map (e: lib.nameValuePair e.name e.path) list); }
      ''
        mkdir -p "$out"
        cd "$out"
        ${lib.concatMapStringsSep "\n" (entry: ''
          mkdir -p "$(dirname ${lib.escapeShellArg entry.name})"
          ln -s ${lib.escapeShellArg "${entry.path}"} ${lib.escapeShellArg entry.name}
        '') list}
      '';

  # The closure of some paths: `store-paths`, one a line, and `registration` for nix-store --load-db.
  closureInfo =
    { rootPaths }:
    mkDerivation {
      name = "closure-info";
      __structuredAttrs = true;
      exportReferencesGraph.closure = rootPaths;
      buildCommand = ''
        mkdir -p "$out"
        /usr/bin/jq -r '.closure | map(.narSize) | add' <"$NIX_ATTRS_JSON_FILE" >"$out/total-nar-size"
        /usr/bin/jq -r '.closure[] | .path, .narHash, .narSize, "", (.references | length), .references[]' \
          <"$NIX_ATTRS_JSON_FILE" >"$out/registration"
        /usr/bin/jq -r '.closure | map(.path) | sort[]' <"$NIX_ATTRS_JSON_FILE" >"$out/store-paths"
      '';
    };

  fetchurl =
    {
      url ? null,
      urls ? [ url ],
      hash,
      name ? baseNameOf (lib.head urls),
      meta ? { },
    }:
    mkDerivation {
      inherit name meta urls;
      outputHash = hash;
      outputHashAlgo = null;
      outputHashMode = "flat";
      buildCommand = ''
        for url in $urls; do
          if /usr/bin/curl --fail --location --silent --show-error --output "$out" "$url"; then exit 0; fi
        done
        exit 1
      '';
    };

  # A shell with these programs, and what their setup hooks say.
  mkShell =
    args@{
      packages ? [ ],
      nativeBuildInputs ? [ ],
      shellHook ? "",
      ...
    }:
    mkDerivation (
      removeAttrs args [ "packages" ]
      // {
        name = args.name or "nix-shell";
        nativeBuildInputs = packages ++ nativeBuildInputs;
        inherit shellHook;
        buildCommand = "touch $out";
      }
    );
in
{
  inherit
    runCommand
    writeTextFile
    writeText
    writeShellScript
    writeShellScriptBin
    writeShellApplication
    symlinkJoin
    linkFarm
    closureInfo
    fetchurl
    mkShell
    ;
  stdenvNoCC = rec {
    inherit mkDerivation;
    hostPlatform = {
      inherit system;
      isLinux = true;
      isx86_64 = true;
      efiArch = "x64";
      isAarch64 = false;
      parsed.cpu.name = "x86_64";
      canExecute = other: other.system == system;
    };
    buildPlatform = hostPlatform;
  };
}
