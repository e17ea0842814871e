# Programs of the machine's own /usr/bin under the names that nixpkgs gives them, for builders and scripts that run here,
# and hooks and file formats. Impure: nothing of these is in the store.
{
  lib,
  runCommand,
  mkDerivation,
  elf,
}:
let
  # A package of links to the machine's programs.
  machine =
    name: programs:
    runCommand "${name}-of-the-machine" { meta.mainProgram = lib.head programs; } ''
      mkdir -p "$out/bin"
      for program in ${lib.concatStringsSep " " programs}; do
        [ -x "/usr/bin/$program" ] || { echo "this machine has no /usr/bin/$program" >&2; exit 1; }
        ln -s "/usr/bin/$program" "$out/bin/$program"
      done
    '';

  # After installation, ELF files find libc and the libraries of buildInputs.
  autoPatchelfHook = runCommand "auto-patchelf-hook" { } ''
    mkdir -p "$out/nix-support"
    cat >"$out/nix-support/setup-hook" <<'HOOK'
    autoPatchelf() { ${elf.patch} "$out" $(listed buildInputs); }
    postFixupHooks+=(autoPatchelf)
    HOOK
  '';

  # A published file of a Python package, by its hash, through the machine's own pip and its settings (/etc/machine.env). The first that
  # is asked for brings all that somebody has put into wheels.wanted (scripts/nix-artefacts.sh).
  fetchPypi =
    {
      pname,
      version,
      hash,
      format ? "setuptools",
      dist ? "py2.py3",
      python ? "py2.py3",
      abi ? "none",
      platform ? "any",
      extension ? "tar.gz",
    }:
    mkDerivation {
      name =
        if format == "wheel" then
          "${pname}-${version}-${python}-${abi}-${platform}.whl"
        else
          "${pname}-${version}.${extension}";
      outputHash = hash;
      outputHashMode = "flat";
      outputHashAlgo = null;
      # pip takes the file that has the hash, whatever else was published.
      sha256 = builtins.convertHash {
        inherit hash;
        toHashFormat = "base16";
      };
      inherit pname version;
      buildCommand = ''
        export PATH=/usr/sbin:/usr/bin:/sbin:/bin
        at=/var/cache/flowkit
        bash ${./fetch.sh} wheels $at/wheels.wanted
        if [ ! -e "$at/wheels/$sha256" ]; then
          echo "$sha256 $pname $version" >wanted
          bash ${./fetch.sh} wheels wanted
        fi
        cp "$at/wheels/$sha256" "$out"
      '';
    };

  formats =
    let
      json =
        with lib.types;
        let
          value =
            nullOr (oneOf [
              bool
              int
              float
              str
              path
              (attrsOf value)
              (listOf value)
            ])
            // {
              description = "JSON value";
            };
        in
        value;
    in
    {
      json = _: {
        type = json;
        generate =
          name: value:
          runCommand name {
            passAsFile = [ "value" ];
            value = builtins.toJSON value;
          } ''/usr/bin/jq . "$valuePath" >"$out"'';
      };
      toml = _: {
        type = json;
        generate =
          name: value:
          runCommand name
            {
              passAsFile = [ "value" ];
              value = builtins.toJSON value;
            }
            ''
              /usr/bin/python3 ${./to_toml.py} <"$valuePath" >"$out"
            '';
      };
    };
in
{
  inherit autoPatchelfHook fetchPypi formats;
  jq = machine "jq" [ "jq" ];
  unzip = machine "unzip" [ "unzip" ];
  qemu = machine "qemu" [
    "qemu-system-x86_64"
    "qemu-img"
  ];
}
