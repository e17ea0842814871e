{
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.flowkit.url = "git+file:///srv/flowkit-appliance"; # where this repository is
  inputs.flowkit.inputs.nixpkgs.follows = "nixpkgs";

  outputs = { nixpkgs, flowkit, ... }: {
    nixosConfigurations.flowkit = nixpkgs.lib.nixosSystem {
      modules = [
        ./configuration.nix
        ./flowkit.nix
        flowkit.nixosModules.single-host
      ];
    };
  };
}
