# A program of ours: `flowkit`, or a server, which is a member of the workspace. Only what it is compiled from counts: an edit
# elsewhere, in another server too, rebuilds nothing. A server's source has `flowkit`'s beside its own, for the workspace to be
# whole; whoever runs a server has `flowkit` as well.
{
  lib,
  rustPlatform,
  program,
}:
let
  inherit (lib) fileset;
  workspace = lib.importTOML ../Cargo.toml;

  # Where each member is that others name, by `NAME.workspace = true`.
  members = lib.mapAttrs (_: dependency: dependency.path) (
    lib.filterAttrs (_: dependency: dependency ? path) workspace.workspace.dependencies
  );
  manifestOf = path: lib.importTOML (../. + "/${path}/Cargo.toml");
  # The members that a member needs.
  needed =
    manifest:
    map (name: { key = members.${name}; }) (
      lib.attrNames (
        builtins.intersectAttrs (manifest.dependencies or { } // manifest.dev-dependencies or { }) members
      )
    );
  own = lib.optional (program != workspace.package.name) { key = "crates/${program}"; };
  closure = builtins.genericClosure {
    startSet = needed workspace ++ own;
    operator = { key }: needed (manifestOf key);
  };

  compiled = dir: fileset.fileFilter (file: !file.hasExt "nix") (../. + "/${dir}");
in
rustPlatform.buildRustPackage {
  pname = program;
  inherit (workspace.workspace.package) version;

  src = fileset.toSource {
    root = ../.;
    fileset = fileset.unions (
      [
        ../Cargo.toml
        ../Cargo.lock
        (compiled "src")
      ]
      # Worked examples and a workflow, which `flowkit` has in it.
      ++ lib.optionals (program == workspace.package.name) [
        ../examples/autoflow
        ../examples/notebooks
      ]
      ++ map (member: compiled member.key) closure
    );
  };
  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = [ "--package=${program}" ];

  # Tests are checks of the flake: an image does not wait for them.
  doCheck = false;

  # Panics name source files. Where a build happens must not show.
  preBuild = ''
    export RUSTFLAGS="''${RUSTFLAGS-} --remap-path-prefix=$NIX_BUILD_TOP=/build"
  '';

  # The members that it is compiled from, `flowkit`'s among them.
  passthru.members = map (member: member.key) closure;

  meta = {
    description = (if own == [ ] then workspace else manifestOf (lib.head own).key).package.description;
    license = lib.licenses.mpl20;
    platforms = lib.platforms.linux;
    mainProgram = program;
  };
}
