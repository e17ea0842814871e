# A Python interpreter that has the packages of a lock, and ours for them: `bin/python`.
#
# Each locked package is a path of its own, and the environment in front is links only, so that an update of one package
# moves that one. The interpreter finds the environment by `pyvenv.cfg`, as that of any venv: no wrapper, no shell.
{
  lib,
  stdenv,
  stdenvNoCC,
  runCommand,
  fetchPypi,
  autoPatchelfHook,
  zlib,
  python313,

  # What it is made for, of which there are `python/NAME-wheels.json`, by scripts/relock-python.sh, and our own modules in `python`.
  name,
  ownModules ? [ "flowkit_${name}" ],
  # The package that gives it its version.
  namedAfter ? name,
  # What is done to a package, by its name, in `$site` and `$out`.
  mended ? { },
  description,
  license,
  # Modules that can be imported, or this is no environment.
  imports,
}:
let
  lock = builtins.fromJSON (builtins.readFile (../python + "/${name}-wheels.json"));
  interpreter = "${python313}/bin/python${lock.python}";
  site = "lib/python${lock.python}/site-packages";
  # Byte code that is known by the hash of its source: the time of a file means nothing in a store.
  compile = "PYTHONHASHSEED=0 ${interpreter} -m compileall -q --invalidation-mode unchecked-hash";

  fetch =
    package:
    if package ? sdist then
      fetchPypi {
        inherit (package.sdist) pname hash;
        inherit (package) version;
      }
    else
      let
        file = package.wheel.any or package.wheel.${stdenv.hostPlatform.system};
      in
      fetchPypi {
        inherit (package) version;
        inherit (file)
          pname
          python
          abi
          platform
          hash
          ;
        format = "wheel";
        dist = file.python;
      };

  install =
    package:
    let
      compiled = package ? wheel && !(package.wheel ? any);
    in
    stdenvNoCC.mkDerivation {
      pname = "python-${package.name}";
      inherit (package) version;
      src = fetch package;
      dontUnpack = true;
      nativeBuildInputs = lib.optional compiled autoPatchelfHook;
      buildInputs = lib.optionals compiled [
        stdenv.cc.cc.lib
        zlib
      ];
      installPhase = ''
        runHook preInstall
        site=$out/${site}
        mkdir -p "$site"
      ''
      + (
        if package ? wheel then
          ''
            ${interpreter} -m zipfile -e "$src" "$site"
            ${mended.${package.name} or ""}
            # Headers, of one package. Modules would belong beside the others.
            if ls -d "$site"/*.data/*lib >&2 2>/dev/null; then exit 1; fi
            rm -rf "$site"/*.data
          ''
        else
          # Pure Python: what a build would do is to copy the modules.
          ''
            mkdir source
            tar -xzf "$src" -C source --strip-components=1
            for info in source/*.egg-info; do
              cp -r "$info" "$site"
              while read -r module; do cp -r "source/$module" "$site"; done < "$info/top_level.txt"
            done
          ''
      )
      + ''
        # Half of the largest package is its own tests.
        rm -rf "$site"/*/tests
        ${compile} "$site"
        runHook postInstall
      '';
      meta.sourceProvenance = [
        (if compiled then lib.sourceTypes.binaryNativeCode else lib.sourceTypes.fromSource)
      ];
      # Wheels come stripped, and their scripts are not used.
      dontStrip = true;
      dontPatchELF = true;
      dontPatchShebangs = true;
    };

  # Our own few lines, apart from what changes seldom; what tells of them where they have entry points.
  launcher = runCommand "flowkit-${name}" { } ''
    cd ${
      lib.fileset.toSource {
        root = ../python;
        fileset = lib.fileset.unions (
          lib.concatMap (module: [
            (lib.fileset.fileFilter (file: file.hasExt "py" || file.hasExt "css") (../python + "/${module}"))
            (lib.fileset.maybeMissing (../python + "/${module}.dist-info"))
          ]) ownModules
        );
      }
    }
    mkdir -p "$out"
    for module in ${toString ownModules}; do
      cp -r --no-preserve=mode "$module" "$out"
      if [ -d "$module.dist-info" ]; then cp -r "$module.dist-info" "$out/$module-1.dist-info"; fi
    done
    ${compile} "$out"
  '';

  inherit (lib.head (lib.filter (package: package.name == namedAfter) lock.packages)) version;
in
runCommand "${name}-${version}"
  {
    passthru = { inherit launcher; };
    meta = {
      inherit description license;
      sourceProvenance = [
        lib.sourceTypes.fromSource
        lib.sourceTypes.binaryNativeCode
      ];
      platforms = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      mainProgram = "python";
    };
  }
  ''
    # Links to what is in $1 into $2. A directory that several packages have is one of links.
    join() {
      local entry to other
      for entry in "$1"/*; do
        to=$2/''${entry##*/}
        if [ ! -e "$to" ]; then
          ln -s "$entry" "$to"
          continue
        fi
        # The same file twice is one package too many.
        [ -d "$entry" ] && [ -d "$to" ] || { echo "$entry is in the way of $(readlink "$to")" >&2; exit 1; }
        if [ -L "$to" ]; then
          other=$(readlink "$to")
          rm "$to"
          mkdir "$to"
          join "$other" "$to"
        fi
        join "$entry" "$to"
      done
    }

    site=$out/${site}
    mkdir -p "$out/bin" "$site"
    ln -s ${interpreter} "$out/bin/python"
    printf 'home = %s\ninclude-system-site-packages = false\n' ${dirOf interpreter} > "$out/pyvenv.cfg"
    for package in ${lib.concatMapStringsSep " " (package: "${install package}") lock.packages}; do
      join "$package" "$out"
    done
    join ${launcher} "$site"

    cd /
    HOME=/ "$out/bin/python" -B -c 'import ${lib.concatStringsSep ", " (imports ++ ownModules)}'
  ''
