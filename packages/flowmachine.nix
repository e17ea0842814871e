# FlowMachine as a Python interpreter that has it: `bin/python`.
#
# Each locked package of python/wheels.json is a path of its own, and the environment in front is links only, so that an
# update of one package moves that one. The interpreter finds the environment by `pyvenv.cfg`, as that of any venv: no
# wrapper, no shell.
{
  lib,
  stdenv,
  stdenvNoCC,
  runCommand,
  fetchPypi,
  autoPatchelfHook,
  zlib,
  python313,
}:
let
  lock = builtins.fromJSON (builtins.readFile ../python/wheels.json);
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

  # Our own few lines, apart from what changes seldom.
  launcher = runCommand "flowkit-flowmachine" { } ''
    mkdir -p "$out"
    cp ${
      lib.fileset.toSource {
        root = ../python/flowkit_flowmachine;
        fileset = lib.fileset.fileFilter (file: file.hasExt "py") ../python/flowkit_flowmachine;
      }
    }/*.py "$out"
    ${compile} "$out"
  '';

  version = (lib.head (lib.filter (package: package.name == "flowmachine") lock.packages)).version;
in
runCommand "flowmachine-${version}"
  {
    passthru = { inherit launcher; };
    meta = {
      description = "Python with FlowMachine, the server that turns queries into SQL";
      license = lib.licenses.mpl20;
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
    site=$out/${site}
    mkdir -p "$out/bin" "$site/__pycache__"
    ln -s ${interpreter} "$out/bin/python"
    printf 'home = %s\ninclude-system-site-packages = false\n' ${dirOf interpreter} > "$out/pyvenv.cfg"
    for package in ${lib.concatMapStringsSep " " (package: "${install package}") lock.packages}; do
      for entry in "$package/${site}"/*; do
        case $entry in
          */__pycache__) ln -s "$entry"/* "$site/__pycache__" ;;
          *) ln -s "$entry" "$site" ;;
        esac
      done
    done
    ln -s ${launcher} "$site/flowkit_flowmachine"

    # All of it can be imported, or this is no environment.
    cd /
    HOME=/ "$out/bin/python" -B -c 'import flowmachine, flowmachine.core.server.server, flowkit_flowmachine'
  ''
