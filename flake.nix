{
  description = "FlowKit appliance: images, NixOS services and virtual machines that turn a bare machine into a working FlowKit";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  # The names of all outputs are known without nixpkgs, so that looking at this flake needs no network.
  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      named =
        names: name: value:
        builtins.listToAttrs (
          map (item: {
            name = name item;
            value = value item;
          }) names
        );
      roles = builtins.attrNames (import ./src/roles);
      each = value: named roles (role: role) value;
      eachSystem = value: named systems (system: system) (system: value (for system));

      # What one system's outputs are made of.
      for = system: rec {
        inherit system roles;
        pkgs = nixpkgs.legacyPackages.${system};
        packages = import ./packages { inherit pkgs; };
        images = import ./images { inherit pkgs packages; };
        machines = import ./images/machines.nix {
          inherit system roles;
          inherit (nixpkgs.lib) nixosSystem;
          modules = [ self.nixosModules.default ];
        };
      };
    in
    {
      packages = eachSystem (
        {
          packages,
          images,
          machines,
          pkgs,
          ...
        }:
        named roles (role: "${role}-image") (role: images.${role})
        // named roles (role: "${role}-vm") (role: machines.${role}.config.system.build.runner)
        // {
          inherit (packages) flowkit;
          default = packages.flowkit;
          # Every role's image with what it takes to run them, to carry behind a firewall.
          inherit (images) bundle;
          appliance-vm = machines.appliance-vm.config.system.build.runner;
          appliance-disk = machines.appliance.config.system.build.image;
          docs-options = import ./modules/docs.nix { inherit pkgs; };
        }
      );

      # `nix run .#up`: the roles as plain processes of whoever calls it.
      apps = eachSystem (
        { packages, ... }:
        {
          up = {
            type = "app";
            program = "${packages.up}/bin/flowkit-up";
            meta.description = "Start FlowKit's roles as processes on this machine";
          };
        }
      );

      nixosModules = each (role: ./modules + "/${role}.nix") // {
        default = ./modules;
        single-host = ./modules/presets/single-host.nix;
        flowauth-outside = ./modules/presets/flowauth-outside.nix;
      };

      nixosConfigurations.appliance = (for "x86_64-linux").machines.appliance;

      overlays.default = final: _: {
        inherit (import ./packages { pkgs = final; }) flowkit;
      };

      checks = eachSystem (import ./tests);

      devShells = eachSystem (
        { pkgs, packages, ... }:
        {
          default = import ./packages/shell.nix { inherit pkgs packages; };
        }
      );

      formatter = eachSystem ({ pkgs, ... }: pkgs.nixfmt);

      templates.default = {
        path = ./templates/default;
        description = "A NixOS host that is a FlowKit server";
      };
    };
}
