# The program. Only what it is compiled from counts: an edit elsewhere rebuilds nothing.
{ lib, rustPlatform }:
let
  inherit (lib) fileset;
in
rustPlatform.buildRustPackage {
  pname = "flowkit";
  inherit ((lib.importTOML ../Cargo.toml).package) version;

  src = fileset.toSource {
    root = ../.;
    fileset = fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      (fileset.fileFilter (file: !file.hasExt "nix") ../src)
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;

  # Tests are checks of the flake: an image does not wait for them.
  doCheck = false;

  # Panics name source files. Where a build happens must not show.
  preBuild = ''
    export RUSTFLAGS="''${RUSTFLAGS-} --remap-path-prefix=$NIX_BUILD_TOP=/build"
  '';

  meta = {
    description = "One supervisor that turns a bare machine into a working, tuned, secured FlowKit";
    license = lib.licenses.mpl20;
    platforms = lib.platforms.linux;
    mainProgram = "flowkit";
  };
}
