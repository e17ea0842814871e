# Rust programs, built with the machine's own toolchain.
#
# Impure: cargo and rustc are the machine's (where they are is in /etc/machine.env), gcc links, and what is compiled of
# dependencies is kept between builds in /var/cache/flowkit/rust. The bytes do not depend on any of that: see the flags
# below and `nix build --rebuild`.
{
  lib,
  system,
  stdenvNoCC,
  runCommand,
  symlinkJoin,
  writeShellScriptBin,
  elf,
}:
let
  vendor = import ./crates.nix { inherit lib runCommand system; };
  together = import ./together.nix { inherit lib; };

  # What the workspace optimises most for its tests: without, large numbers, hashes and compression take minutes. All other
  # optimising of what others wrote takes minutes as well, for what the tests of images and machines don't feel.
  optimised =
    root:
    let
      inherit ((lib.importTOML (root + "/Cargo.toml")).profile.dev) package;
    in
    lib.filter (name: package.${name}.opt-level > 1) (lib.attrNames package);

  # The machine's own program; a build's CARGO_HOME stays.
  tool =
    name:
    writeShellScriptBin name ''
      home=''${CARGO_HOME-/nowhere}
      . /etc/machine.env
      program=$CARGO_HOME/bin/${name}
      export CARGO_HOME=$home
      exec "$program" "$@"
    '';

  buildRustPackage =
    args@{
      cargoLock,
      cargoBuildFlags ? [ ],
      buildFeatures ? [ ],
      ...
    }:
    let
      root = dirOf cargoLock.lockFile;
      inherit (together root) place manifest;
    in
    stdenvNoCC.mkDerivation (
      {
        # The folder is the same in every build: cargo compiles anew what moves. So one build at a time; each is of another
        # user, of the same group.
        configurePhase = ''
          runHook preConfigure
          cmp Cargo.lock "$lockFile"
          mkdir -p ${place}/src
          printf '%s' "$together" >${place}/Cargo.toml
          touch ${place}/src/lib.rs
          umask 002
          closed() { umask 022; } # for what is installed
          postBuildHooks+=(closed)
          . /etc/machine.env
          export PATH=$CARGO_HOME/bin:$PATH:/usr/lib/stdenv-cc CARGO_HOME=$NIX_BUILD_TOP/cargo

          export NIX_BUILD_TOP=/var/cache/flowkit/rust
          mkdir -p "$NIX_BUILD_TOP"
          exec 9<"$NIX_BUILD_TOP"
          /usr/bin/flock 9
          rm -rf "$NIX_BUILD_TOP/source"
          cp -r --no-preserve=mode . "$NIX_BUILD_TOP/source"
          cd "$NIX_BUILD_TOP/source"
          # Cargo looks at times, and those of the store are all the same. A file that no program before had like this is newer than
          # anything compiled; another is as old as it was there, and what is compiled of it good.
          find . -type f -print0 | while read -r -d "" file; do
            if cmp -s "$file" "../seen/$file"; then
              touch -r "../seen/$file" "$file"
            else
              touch "$file"
              mkdir -p "../seen/''${file%/*}"
              cp --remove-destination --preserve=timestamps "$file" "../seen/$file"
            fi
          done
          if [ "$(cat "$NIX_BUILD_TOP/crates/.from" 2>/dev/null)" != "$vendor" ]; then
            rm -rf "$NIX_BUILD_TOP/crates"
            cp -r --no-preserve=mode "$vendor" "$NIX_BUILD_TOP/crates"
            echo "$vendor" >"$NIX_BUILD_TOP/crates/.from"
          fi
          mkdir "$CARGO_HOME"
          {
            printf '[source.crates-io]\nreplace-with = "crates"\n[source.crates]\ndirectory = "%s"\n' "$NIX_BUILD_TOP/crates"
            printf '[profile.release.package."*"]\nopt-level = 0\n'
            printf '[profile.release.package.%s]\nopt-level = 3\n' ${toString (optimised root)}
          } >"$CARGO_HOME/config.toml"

          # Build scripts change what they wrote before, which only its owner may.
          if [ -e "$NIX_BUILD_TOP/target" ] && [ ! -O "$NIX_BUILD_TOP/target" ]; then
            rm -rf "$NIX_BUILD_TOP/before"
            mv "$NIX_BUILD_TOP/target" "$NIX_BUILD_TOP/before"
            cp -r --preserve=timestamps "$NIX_BUILD_TOP/before" "$NIX_BUILD_TOP/target"
            rm -rf "$NIX_BUILD_TOP/before"
          fi
          # Hardly optimised, and not across crates: minutes for what no test would see.
          export CARGO_TARGET_DIR=$NIX_BUILD_TOP/target CARGO_INCREMENTAL=0
          export CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_OPT_LEVEL=1
          export RUSTFLAGS="-Clink-arg=-Wl,--build-id=none --remap-path-prefix=$NIX_BUILD_TOP/crates=/cargo"
          runHook postConfigure
        '';
        buildPhase = ''
          runHook preBuild
          mkdir -p "$CARGO_TARGET_DIR/release"
          find "$CARGO_TARGET_DIR/release" -maxdepth 1 -type f -delete # what other builds left
          # As nixpkgs' hook does, without --locked: a source without the members that it does not need has more in its lock file
          # than cargo would write. Nothing but what is locked is at hand.
          # shellcheck disable=SC2046
          cargo build --release --offline $(listed flags)
          runHook postBuild
        '';
        installPhase = ''
          runHook preInstall
          mkdir -p "$out/bin"
          find "$CARGO_TARGET_DIR/release" -maxdepth 1 -type f -executable ! -name '*.*' -exec cp -t "$out/bin" {} +
          ${elf.patch} "$out"
          runHook postInstall
        '';
      }
      // removeAttrs args [
        "cargoLock"
        "cargoBuildFlags"
        "buildFeatures"
      ]
      // {
        inherit (cargoLock) lockFile;
        vendor = vendor cargoLock.lockFile;
        together = manifest;
        # Who asks for a member by its name has a workspace around it.
        flags =
          lib.optional (cargoBuildFlags != [ ]) "--package=together"
          ++ cargoBuildFlags
          ++ map (feature: "--features=${feature}") buildFeatures;
      }
    );

  # Debian 13 has none: the re-implementation in Rust that aims at the same output.
  nixfmt = stdenvNoCC.mkDerivation rec {
    pname = "nixfmt";
    version = "0.5.3";
    # With all that its own lock names, through the machine's own cargo.
    src = stdenvNoCC.mkDerivation {
      name = "nixfmt_rs-${version}";
      outputHashMode = "recursive";
      outputHashAlgo = "sha256";
      outputHash = "sha256-qgtCDXYsz02gRmiOoX6RBBF1ZOSIyMeVOgl4t7UIH6c=";
      buildCommand = ''
        . /etc/machine.env
        export PATH=$CARGO_HOME/bin:$PATH:/usr/lib/stdenv-cc
        mkdir -p home wanted/src
        cp "$CARGO_HOME"/config* home 2>/dev/null || true
        export CARGO_HOME=$PWD/home
        printf '[package]\nname = "wanted"\nversion = "0.0.0"\n[dependencies]\nnixfmt_rs = "=${version}"\n' >wanted/Cargo.toml
        touch wanted/src/lib.rs
        cargo fetch --quiet --manifest-path wanted/Cargo.toml
        mkdir "$out"
        tar -xzf home/registry/cache/*/nixfmt_rs-${version}.crate -C "$out" --strip-components=1
        cd "$out"
        cargo vendor --quiet --locked >/dev/null
      '';
    };
    buildPhase = ''
      . /etc/machine.env
      export PATH=$CARGO_HOME/bin:$PATH:/usr/lib/stdenv-cc CARGO_HOME=$NIX_BUILD_TOP/cargo
      mkdir "$CARGO_HOME"
      printf '[source.crates-io]\nreplace-with = "crates"\n[source.crates]\ndirectory = "%s"\n' "$PWD/vendor" >"$CARGO_HOME/config.toml"
      # A few hundred short files are formatted.
      export CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
      cargo install --quiet --locked --offline --no-track --root "$out" --path .
    '';
    meta.mainProgram = "nixfmt";
  };
in
{
  rustPlatform = { inherit buildRustPackage; };
  cargo = tool "cargo";
  rustc = tool "rustc";
  clippy = tool "cargo-clippy";
  rustfmt = symlinkJoin {
    name = "rustfmt";
    paths = map tool [
      "cargo-fmt"
      "rustfmt"
    ];
  };

  inherit nixfmt;

  # `nix fmt`: what git knows, but for what is excluded.
  nixfmt-tree.override =
    { settings }:
    writeShellScriptBin "treefmt" ''
      git ls-files -z '*.nix' ${
        lib.concatMapStringsSep " " (glob: "':!${glob}'") settings.excludes
      } | xargs -0 ${lib.getExe nixfmt}
    '';
}
