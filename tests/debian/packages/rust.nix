# Rust programs, built with the machine's own toolchain.
#
# Impure: cargo, rustc and CARGO_HOME are the machine's (its settings are in /etc/machine.env), crates come through cargo's
# ordinary client with Cargo.lock's checksums, gcc links, and what is compiled of dependencies is kept between builds in
# /var/cache/flowkit/rust. The bytes do not depend on any of that: see the flags below and `nix build --rebuild`.
{
  lib,
  stdenvNoCC,
  writeShellScriptBin,
  elf,
}:
let
  tool =
    name:
    writeShellScriptBin name ''
      . /etc/machine.env
      exec "$CARGO_HOME/bin/${name}" "$@"
    '';

  buildRustPackage =
    args@{
      cargoLock,
      cargoBuildFlags ? [ ],
      buildFeatures ? [ ],
      ...
    }:
    stdenvNoCC.mkDerivation (
      {
        # The folder is the same in every build: cargo compiles anew what moves. So one build at a time.
        configurePhase = ''
          runHook preConfigure
          cmp Cargo.lock "$lockFile"
          . /etc/machine.env
          export PATH=$CARGO_HOME/bin:$PATH

          export NIX_BUILD_TOP=/var/cache/flowkit/rust
          mkdir -p "$NIX_BUILD_TOP"
          exec 9>"$NIX_BUILD_TOP/lock"
          flock 9
          rm -rf "$NIX_BUILD_TOP/source"
          cp -r . "$NIX_BUILD_TOP/source"
          cd "$NIX_BUILD_TOP/source"
          # Newer than anything compiled before: cargo looks at times, and those of the store are all the same.
          find . -type f -exec touch {} +

          export CARGO_TARGET_DIR=$NIX_BUILD_TOP/target CARGO_INCREMENTAL=0
          export RUSTFLAGS="-Clink-arg=-Wl,--build-id=none --remap-path-prefix=$CARGO_HOME=/cargo"
          cargo fetch --locked --quiet
          runHook postConfigure
        '';
        buildPhase = ''
          runHook preBuild
          mkdir -p "$CARGO_TARGET_DIR/release"
          find "$CARGO_TARGET_DIR/release" -maxdepth 1 -type f -delete # what other builds left
          # shellcheck disable=SC2046
          cargo build --release --locked --offline $(listed flags)
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
        lockFile = cargoLock.lockFile;
        flags = cargoBuildFlags ++ map (feature: "--features=${feature}") buildFeatures;
      }
    );
in
{
  rustPlatform = { inherit buildRustPackage; };
  cargo = tool "cargo";
  rustc = tool "rustc";
  clippy = tool "cargo-clippy";
  rustfmt = tool "rustfmt";

  # Debian 13 has none: the re-implementation in Rust that aims at the same output.
  nixfmt = stdenvNoCC.mkDerivation {
    pname = "nixfmt";
    version = "0.5.3";
    dontUnpack = true;
    buildPhase = ''
      . /etc/machine.env
      export CARGO_TARGET_DIR=$NIX_BUILD_TOP/target
      "$CARGO_HOME/bin/cargo" install --quiet --locked --no-track --root "$out" "nixfmt_rs@$version"
    '';
    meta.mainProgram = "nixfmt";
  };
}
