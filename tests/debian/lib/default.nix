# A small re-creation of the corner of nixpkgs' `lib` that this flake uses (the list is in ../README.md), written from
# what those functions are documented to do. Nothing more is here on purpose: a name that is missing is an evaluation
# error, and so a question whether we need it. `cases.nix` holds this and the real lib to the same answers.
let
  groups = {
    basics = import ./basics.nix;
    strings = import ./strings.nix { inherit lib; };
    options = import ./options.nix { inherit lib; };
    modules = import ./modules.nix { inherit lib; };
    renames = import ./renames.nix { inherit lib; };
    packages = import ./packages.nix { inherit lib; };
  };
  lib =
    groups.basics
    // groups.strings
    // groups.options
    // groups.modules
    // groups.renames
    // groups.packages
    // {
      types = import ./types.nix { inherit lib; };
      fileset = import ./fileset.nix { inherit lib; };
      # The names under which nixpkgs groups the same functions.
      inherit (groups) strings options;
      modules = groups.modules // groups.renames;
      attrsets = groups.basics;
      lists = groups.basics;
      trivial = groups.basics;
    };
in
lib
