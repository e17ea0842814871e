# The program. Only what it is compiled from counts: an edit elsewhere, in another crate too, rebuilds nothing.
{ lib, rustPlatform }:
let
  inherit (lib) fileset;
  workspace = lib.importTOML ../Cargo.toml;

  # The members that a member needs, itself included: `NAME.workspace = true` where the workspace has a path for NAME.
  members = lib.filterAttrs (_: dependency: dependency ? path) workspace.workspace.dependencies;
  needed =
    manifest:
    lib.attrNames (
      builtins.intersectAttrs (manifest.dependencies or { } // manifest.dev-dependencies or { }) members
    );
  closure = builtins.genericClosure {
    startSet = map (key: { inherit key; }) (needed workspace);
    operator =
      { key }:
      map (key: { inherit key; }) (needed (lib.importTOML (../. + "/${members.${key}.path}/Cargo.toml")));
  };

  compiled = dir: fileset.fileFilter (file: !file.hasExt "nix") (../. + "/${dir}");
in
rustPlatform.buildRustPackage {
  pname = "flowkit";
  inherit (workspace.workspace.package) version;

  src = fileset.toSource {
    root = ../.;
    fileset = fileset.unions (
      [
        ../Cargo.toml
        ../Cargo.lock
        (compiled "src")
      ]
      ++ map (member: compiled members.${member.key}.path) closure
    );
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
