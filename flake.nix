{
  description = "FlowKit appliance: images, NixOS services and virtual machines that turn a bare machine into a working FlowKit";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      roles = lib.attrNames (import ./src/roles);
      # Those of them that are NixOS services.
      services = lib.attrNames (import ./modules/lib/catalogue.nix).roles;
      presets = map (lib.removeSuffix ".nix") (lib.attrNames (builtins.readDir ./modules/presets));
      # Scenarios of the guide that have a machine of their own; FlowAuth's is that of its role.
      scenarios = [
        "complete"
        "flowdb-etl"
        "library"
      ];
      # One output a role, of a name that says what it is.
      named =
        suffix: roles: value:
        lib.mapAttrs' (role: lib.nameValuePair "${role}-${suffix}") (lib.genAttrs roles value);

      # What the outputs of one system are made of.
      systems = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: rec {
        inherit roles;
        pkgs = nixpkgs.legacyPackages.${system};
        packages = import ./packages { inherit pkgs; };
        images = import ./images { inherit pkgs packages; };
        machines = import ./images/machines.nix {
          inherit pkgs scenarios;
          roles = services;
          inherit (lib) nixosSystem;
          modules = [ self.nixosModules.default ];
        };
      });
      eachSystem = outputs: lib.mapAttrs (_: outputs) systems;
      build = machine: machine.config.system.build;
    in
    {
      packages = eachSystem (
        system:
        named "image" roles (role: system.images.${role})
        // named "vm" (services ++ scenarios) (name: (build system.machines.${name}).runner)
        // {
          inherit (system.packages)
            autoflow
            flowapi
            flowauth
            flowetl
            flowkit
            flowmachine
            notebooks
            postgresql
            ;
          default = system.packages.flowkit;
          # Every role's image with what it takes to run them, to carry behind a firewall.
          inherit (system.images) bundle flowkit-portable;
          appliance-vm = (build system.machines.appliance-vm).runner;
          appliance-disk = (build system.machines.appliance).image;
          docs-options = import ./modules/docs.nix { inherit (system) pkgs; };
        }
      );

      # `nix run .#up`: the roles as plain processes of whoever calls it.
      apps = eachSystem (system: {
        up = {
          type = "app";
          program = lib.getExe system.packages.up;
          meta.description = "Start FlowKit's roles as processes on this machine";
        };
      });

      nixosModules =
        lib.genAttrs services (role: ./modules + "/${role}.nix")
        // lib.genAttrs presets (preset: ./modules/presets + "/${preset}.nix")
        // {
          default = ./modules;
        };

      nixosConfigurations.appliance = systems.x86_64-linux.machines.appliance;

      # PostgreSQL by a name of its own: half of nixpkgs would be built anew with ours in the place of theirs.
      overlays.default =
        final: _:
        let
          packages = import ./packages { pkgs = final; };
        in
        {
          inherit (packages)
            autoflow
            flowapi
            flowauth
            flowetl
            flowkit
            flowmachine
            ;
          flowkit-notebooks = packages.notebooks;
          flowkit-postgresql = packages.postgresql;
        };

      checks = eachSystem (import ./tests);

      devShells = eachSystem (system: import ./packages/shell.nix { inherit (system) pkgs packages; });

      # Not what the manual shows, which keeps to short lines.
      formatter = eachSystem (
        system:
        system.pkgs.nixfmt-tree.override {
          settings.excludes = [
            "templates/*"
            "tests/modules/examples/*"
          ];
        }
      );

      templates.default = {
        path = ./templates/default;
        description = "A NixOS host that is a FlowKit server";
      };
    };
}
