# Checks of the packages and of the images.
{
  pkgs,
  packages,
  images,
  roles,
  ...
}:
let
  inherit (pkgs) lib;
  inherit (lib) fileset;

  # Everything that is compiled or that the tests read.
  source = fileset.toSource {
    root = ../.;
    fileset = fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../rustfmt.toml
      ../clippy.toml
      ../src
      ../crates
      ../tests/it
      ../benches
      ../examples
      ../docs
    ];
  };

  # A run of cargo over all of it that leaves nothing behind.
  cargo =
    name: tools: command:
    pkgs.rustPlatform.buildRustPackage {
      inherit name;
      src = source;
      cargoLock.lockFile = ../Cargo.lock;
      nativeBuildInputs = tools;
      buildPhase = ''
        runHook preBuild
        ${command}
        runHook postBuild
      '';
      doCheck = false;
      installPhase = "touch $out";
    };

  # Files that Nix fetches and that the requirements do not allow.
  locks = {
    flowmachine = "requirements.txt";
    flowetl = "flowetl.txt";
    notebooks = "notebooks.txt";
  };
  strays =
    name: requirements:
    let
      lock = builtins.fromJSON (builtins.readFile (../python + "/${name}-wheels.json"));
      allowed = builtins.readFile (../python + "/${requirements}");
      has = text: builtins.length (builtins.split text allowed) > 1;
      base16 =
        hash:
        builtins.convertHash {
          inherit hash;
          toHashFormat = "base16";
        };
      files = package: lib.attrValues (package.wheel or { inherit (package) sdist; });
    in
    lib.concatMap (
      package: lib.filter (file: !has "sha256:${base16 file.hash}") (files package)
    ) lock.packages;

  # The same image, built in other surroundings: another name and place, one core, a strict umask, another time zone.
  again =
    role:
    images.${role}.overrideAttrs (old: {
      name = "${old.name}-again";
      buildCommand = ''
        umask 0077
        export NIX_BUILD_CORES=1 TZ=Asia/Kathmandu LC_ALL=C HOME=/nowhere
        cd "$(mktemp -d)"
      ''
      + old.buildCommand;
    });
in
{
  formatting =
    pkgs.runCommand "flowkit-formatting"
      {
        nativeBuildInputs = [
          pkgs.cargo
          pkgs.rustfmt
          pkgs.nixfmt
        ];
      }
      ''
        cd ${source}
        cargo fmt --all --check
        nixfmt --check $(find ${
          fileset.toSource {
            root = ../.;
            # Not what the manual shows, which keeps to short lines.
            fileset = fileset.difference (fileset.fileFilter (file: file.hasExt "nix") ../.) (
              fileset.unions [
                ../templates
                ../tests/modules/examples
              ]
            );
          }
        } -name '*.nix')
        touch $out
      '';
  # A server's crate is in no other server's source, nor in flowkit's: an edit there moves no other image.
  servers-apart =
    let
      servers = lib.filter (name: packages ? ${name}) [
        "flowapi"
        "flowauth"
        "autoflow"
      ];
      strangers =
        program:
        lib.filter (
          server: server != program && lib.elem "crates/${server}" packages.${program}.members
        ) servers;
      found = lib.filter (program: strangers program != [ ]) (servers ++ [ "flowkit" ]);
    in
    if found == [ ] then
      pkgs.runCommand "flowkit-servers-apart" { } "touch $out"
    else
      throw "compiled with a server that is not theirs: ${
        lib.concatMapStringsSep "; " (program: "${program} with ${toString (strangers program)}") found
      }";
  python-lock =
    let
      found = lib.concatLists (lib.mapAttrsToList strays locks);
    in
    if found == [ ] then
      pkgs.runCommand "flowkit-python-lock" { } "touch $out"
    else
      throw "wheels in python/ are not of the requirements (${
        lib.concatMapStringsSep ", " (file: file.pname) found
      }): run scripts/relock-python.sh";
  clippy = cargo "flowkit-clippy" [
    pkgs.clippy
  ] "cargo clippy --offline --workspace --all-targets -- -D warnings";
  unit-tests = cargo "flowkit-unit-tests" [ ] "cargo test --offline --workspace --lib --bins";
}
// builtins.listToAttrs (
  builtins.concatMap (role: [
    {
      name = "${role}-image";
      value = images.${role};
    }
    {
      name = "${role}-image-reproducible";
      value = pkgs.runCommand "${role}-image-reproducible" { } ''
        cmp ${images.${role}} ${again role}
        touch $out
      '';
    }
  ]) roles
)
