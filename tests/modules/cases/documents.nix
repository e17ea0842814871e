# What the manual says is what there is.
{ lib }:
let
  evaluate = import ../lib/evaluate.nix { inherit lib; };
  reference = import ../../../modules/lib/reference.nix { inherit lib; };
  manual = builtins.readFile ../../../docs/nixos.md;
  template = ../../../templates/default;
  holds = part: text: builtins.replaceStrings [ part ] [ "" ] text != text;
  shown = file: holds (builtins.readFile file) manual;
  roles = lib.attrNames (import ../../../modules/lib/catalogue.nix).roles;

  # The template's flake with our modules and an evaluation in place of NixOS'; the host's own configuration is not ours.
  outputs = (import (template + "/flake.nix")).outputs {
    nixpkgs.lib.nixosSystem =
      { modules }: evaluate.host (lib.filter (module: module != template + "/configuration.nix") modules);
    flowkit.nixosModules.single-host = ../../../modules/presets/single-host.nix;
  };
  host = outputs.nixosConfigurations.flowkit;

  settings =
    role:
    (evaluate.evaluated [ ../../../modules ])
    .options.services.flowkit.${role}.settings.type.getSubOptions
      [ ];
in
{
  "the option reference" = {
    modules = [ ];
    holds = _: {
      "is up to date (make docs-options)" =
        builtins.pathExists ../../../docs/reference/options.md
        && builtins.readFile ../../../docs/reference/options.md == reference.text;
      "says of each option what it is, what it is by default and what it may be, but of ${lib.concatStringsSep ", " reference.undocumented}" =
        reference.undocumented == [ ];
      "gives examples of the right type" = builtins.all (
        role:
        builtins.all (option: option.type.check option.example) (
          lib.filter (option: option ? example) (lib.attrValues (settings role))
        )
      ) roles;
    };
  };

  "the manual's examples" = {
    modules = [ ];
    holds =
      _:
      lib.genAttrs (map (file: "shows ${toString file}") (
        lib.filter (lib.hasSuffix ".nix") (lib.attrNames (builtins.readDir ../examples))
      )) (name: shown (../examples + "/${lib.removePrefix "shows " name}"))
      // {
        "shows the template's flake" = shown (template + "/flake.nix");
      };
  };

  "the template" = {
    modules = [ ];
    holds = _: {
      "is a FlowKit server" =
        host.failed == [ ] && host.warnings == [ ] && host.units ? flowkit-flowmachine;
      "takes ten lines, brackets aside" =
        builtins.length (
          lib.filter (line: builtins.match ".*[a-z].*" line != null) (
            lib.splitString "\n" (builtins.readFile (template + "/flake.nix"))
          )
        ) <= 10;
    };
  };
}
