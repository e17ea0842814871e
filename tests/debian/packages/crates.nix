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
  fetched = import ./fetched.nix { inherit system; } "crates" (
    lib.concatMapStrings (crate: "${crate.checksum} ${crate.name} ${crate.version}\n") locked
  );
  fetch =
    crate:
    fetched {
      name = "${crate.name}-${lib.replaceStrings [ "+" ] [ "-" ] crate.version}.crate";
      sha256 = crate.checksum;
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
