# One machine a role, one a scenario of several, and the appliance: evaluated NixOS systems, whose `config.system.build` has
# what the flake gives out (`runner`, `image`).
{
  nixosSystem,
  pkgs,
  roles,
  scenarios,
  modules,
}:
let
  machine =
    more:
    nixosSystem {
      # The flake's own package set: it is evaluated once.
      modules = modules ++ more ++ [ { nixpkgs.pkgs = pkgs; } ];
    };
  named =
    names: module:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = machine [
          ./vm.nix
          (module name)
        ];
      }) names
    );
in
named roles (role: {
  services.flowkit.${role}.enable = true;
})
// named scenarios (scenario: ../modules/presets + "/${scenario}.nix")
// {
  # The disk to give to a hypervisor, and the same in QEMU.
  appliance = machine [
    ./appliance.nix
    ./disk.nix
  ];
  appliance-vm = machine [
    ./appliance.nix
    ./vm.nix
  ];
}
