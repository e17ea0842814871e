# The dependencies of a Cargo.lock as a folder of sources, each crate a fixed-output derivation by the lock's checksum: a
# build needs no network.
#
# Impure: the files come through the machine's own cargo, with its settings (/etc/machine.env).
{
  lib,
  runCommand,
  system,
}:
lockFile:
let
  locked = lib.filter (crate: crate ? checksum) (lib.importTOML lockFile).package;
  list = builtins.toFile "crates" (
    lib.concatMapStrings (crate: "${crate.checksum} ${crate.name} ${crate.version}\n") locked
  );

  # All are fetched when the first is asked for.
  fetch =
    crate:
    derivation {
      inherit system;
      name = "${crate.name}-${lib.replaceStrings [ "+" ] [ "-" ] crate.version}.crate";
      builder = "/bin/bash";
      args = [
        "-euc"
        ''
          export PATH=/usr/sbin:/usr/bin:/sbin:/bin
          bash ${./fetch-crates.sh} ${list}
          cp /var/cache/flowkit/crates/${crate.checksum} $out
          exit 0
        ''
      ];
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash = crate.checksum;
      preferLocalBuild = true;
    };
in
runCommand "crates"
  {
    passAsFile = [ "crates" ];
    crates = lib.concatMapStrings (
      crate: "${fetch crate} ${crate.name}-${crate.version} ${crate.checksum}\n"
    ) locked;
  }
  ''
    mkdir "$out"
    cd "$out"
    while read -r file name checksum; do
      mkdir "$name"
      tar -xzf "$file" -C "$name" --strip-components=1
      printf '{"files":{},"package":"%s"}' "$checksum" >"$name/.cargo-checksum.json"
    done <"$cratesPath"
  ''
