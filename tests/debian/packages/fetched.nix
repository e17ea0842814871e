# Locked files that are had over the network, each a fixed-output derivation. All of a list are fetched when the first is
# asked for, by the machine's own clients (fetch.sh, which says what its lines are).
{ system }:
kind: lines:
let
  list = builtins.toFile kind lines;
in
{ name, sha256 }:
derivation {
  inherit system name;
  builder = "/bin/bash";
  args = [
    "-euc"
    ''
      export PATH=/usr/sbin:/usr/bin:/sbin:/bin
      bash ${./fetch.sh} ${kind} ${list}
      cp /var/cache/flowkit/${kind}/${sha256} $out
      # Nix kills a builder whose output is closed, as cp does before it ends; so that it is not the last, exec'd, command:
      exit 0
    ''
  ];
  outputHashMode = "flat";
  outputHashAlgo = "sha256";
  outputHash = sha256;
  preferLocalBuild = true;
}
