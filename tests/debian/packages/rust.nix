# Rust programs, built with the machine's own toolchain.
#
# Impure: cargo, rustc and CARGO_HOME are the machine's (its settings are in /etc/machine.env), crates come through cargo's
# ordinary client with Cargo.lock's checksums, gcc links, and what is compiled of dependencies is kept between builds in
# /var/cache/flowkit/rust. The bytes do not depend on any of that: see the flags below and `nix build --rebuild`.
{
  lib,
  stdenvNoCC,
  writeShellScriptBin,
  debs,
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
      removeAttrs args [
        "cargoLock"
        "cargoBuildFlags"
        "buildFeatures"
      ]
      // {
        lockFile = cargoLock.lockFile;
        flags = cargoBuildFlags ++ map (feature: "--features=${feature}") buildFeatures;
        buildPhase = ''
          . /etc/machine.env
          export PATH=$CARGO_HOME/bin:$PATH
          cmp Cargo.lock "$lockFile"
          runHook preBuild

          # The same folder in every build: cargo compiles what depends on a path anew when it moves. One build at a time.
          place=/var/cache/flowkit/rust/$pname
          mkdir -p "$place"
          exec 9>"$place/lock"
          flock 9
          rm -rf "$place/source"
          cp -r . "$place/source"
          # Newer than anything compiled before: cargo looks at times, and those of the store are all the same.
          find "$place/source" -type f -exec touch {} +
          cd "$place/source"

          export CARGO_TARGET_DIR=$place/target CARGO_INCREMENTAL=0
          RUSTFLAGS+=" --remap-path-prefix=$place/source=/build --remap-path-prefix=$CARGO_HOME=/cargo"
          RUSTFLAGS+=" -Clink-arg=-Wl,--build-id=none"
          export RUSTFLAGS
          # shellcheck disable=SC2046
          cargo build --release --locked $(listed flags)
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
    );
in
{
  rustPlatform = { inherit buildRustPackage; };
  cargo = tool "cargo";
  rustc = tool "rustc";
  clippy = tool "cargo-clippy";
  rustfmt = tool "rustfmt";
}
