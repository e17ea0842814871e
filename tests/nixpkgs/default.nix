# Everything that the flake gives out and that the manual shows, on a nixpkgs that is at hand: `<group>.<name>` is the
# derivation that would be built. scripts/test-nixpkgs.sh evaluates all of it.
#
#   nixpkgs    a flake: nixpkgs, or tests/debian
#   template   a copy of templates/default with the configuration.nix of some host beside it
{ nixpkgs, template }:
let
  inherit (nixpkgs) lib;
  tree = ../..;
  flake = (import (tree + "/flake.nix")).outputs {
    inherit nixpkgs;
    self = flake // {
      outPath = tree;
    };
  };

  drvPaths = lib.mapAttrs (_: package: package.drvPath);
  toplevel = host: host.config.system.build.toplevel.drvPath;
  bySystem =
    kind: each:
    lib.mapAttrs' (system: value: lib.nameValuePair "${kind}.${system}" (each system value));

  # A host that has what every host has, and these modules.
  host =
    modules:
    lib.nixosSystem {
      modules = [
        (template + "/configuration.nix")
        { nixpkgs.pkgs = nixpkgs.legacyPackages.x86_64-linux; }
      ]
      ++ modules;
    };
  # Options of others, which examples set.
  others.options = lib.genAttrs [ "age" "sops" ] (
    _:
    lib.mkOption {
      type = lib.types.raw;
      default.secrets.redis-password.path = "/run/secrets/redis-password";
    }
  );
  examples = tree + "/tests/modules/examples";
  catalogue = import (tree + "/modules/lib/catalogue.nix");
  single = flake.nixosModules.single-host;

  valkey =
    { pkgs, ... }:
    {
      services.flowkit.packages.redis = pkgs.valkey;
    };

  # A role by itself, the others on another host.
  role =
    name: module:
    toplevel (host [
      module
      {
        services.flowkit.${name} = {
          enable = true;
          secretsDir = "/run/keys/flowkit";
          settings = lib.listToAttrs (
            map (talk: lib.nameValuePair talk.setting "https://10.0.0.5:9090") (
              lib.filter (talk: talk ? form && !(talk.optional or false)) (
                catalogue.roles.${name}.talks-to or [ ]
              )
            )
            ++ map (setting: lib.nameValuePair setting.name "10.0.0.5") (
              lib.filter (setting: setting.type == "host" && setting.owner != name) (
                catalogue.settingsOf catalogue.roles.${name}
              )
            )
          );
        };
      }
    ]);
  # FlowAuth's preset says by an assertion that it cannot be run yet.
  preset =
    name: module:
    let
      failed = lib.filter (it: !it.assertion) (host [ module ]).config.assertions;
    in
    if name == "flowauth-outside" && !catalogue.roles ? flowauth then
      assert lib.length failed == 1 && lib.hasInfix name (lib.head failed).message;
      "refused"
    else
      toplevel (host [ module ]);
in
{
  outputs =
    bySystem "packages" (
      _: packages:
      drvPaths packages
      // lib.concatMapAttrs (name: image: {
        "${name}.layout" = image.layout.drvPath;
        "${name}.load" = image.load.drvPath;
      }) (lib.filterAttrs (name: _: lib.hasSuffix "-image" name) packages)
    ) flake.packages
    // bySystem "checks" (_: drvPaths) flake.checks
    // bySystem "devShells" (_: drvPaths) flake.devShells
    // bySystem "apps" (
      _: lib.mapAttrs (_: app: lib.head (lib.attrNames (builtins.getContext app.program)))
    ) flake.apps
    // bySystem "formatter" (_: formatter: { nixfmt-tree = formatter.drvPath; }) flake.formatter
    // bySystem "overlays" (
      _: pkgs:
      lib.genAttrs [
        "autoflow"
        "flowapi"
        "flowauth"
        "flowetl"
        "flowkit"
        "flowmachine"
        "flowkit-notebooks"
        "flowkit-postgresql"
      ] (name: (pkgs.extend flake.overlays.default).${name}.drvPath)
    ) (lib.getAttrs (lib.attrNames flake.packages) nixpkgs.legacyPackages)
    // {
      nixosConfigurations = lib.mapAttrs (_: toplevel) flake.nixosConfigurations;
      nixosModules = lib.mapAttrs (
        name: if catalogue.roles ? ${name} then role name else preset name
      ) flake.nixosModules;
      template.default = toplevel (
        ((import (template + "/flake.nix")).outputs {
          inherit nixpkgs;
          flowkit = flake;
        }).nixosConfigurations.flowkit
      );
      manual =
        lib.genAttrs (lib.filter (lib.hasSuffix ".nix") (lib.attrNames (builtins.readDir examples))) (
          file:
          toplevel (
            host (
              [
                flake.nixosModules.default
                others
                (examples + "/${file}")
              ]
              # Settings alone are of a host that runs something.
              ++ lib.optional (lib.elem file [
                "autoflow.nix"
                "directories.nix"
                "flowetl.nix"
                "settings.nix"
              ]) single
            )
          )
        )
        // {
          # docs/vm.md, docs/nixos.md, docs/reference/options.md
          more-modules = toplevel (
            flake.nixosConfigurations.appliance.extendModules {
              modules = [ { services.openssh.enable = true; } ];
            }
          );
          by-path = toplevel (host [ { imports = [ (tree + "/modules/presets/single-host.nix") ]; } ]);
          valkey = toplevel (host [
            single
            valkey
          ]);
          memory-limit = toplevel (host [
            single
            { systemd.services.flowkit-flowdb.serviceConfig.MemoryMax = "16G"; }
          ]);
          beside-postgresql = toplevel (host [
            single
            { services.postgresql.enable = true; }
          ]);
        };
    };

  rendered = import ./rendered.nix { inherit flake lib; };
}
