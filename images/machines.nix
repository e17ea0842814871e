# One machine a role, and the appliance with all of them: evaluated NixOS systems, whose `config.system.build` has what
# the flake gives out (`runner`, `image`).
{
  nixosSystem,
  pkgs,
  roles,
  modules,
}:
let
  machine =
    more:
    nixosSystem {
      # The flake's own package set: it is evaluated once.
      modules = modules ++ more ++ [ { nixpkgs.pkgs = pkgs; } ];
    };
  alone =
    role:
    machine [
      ./vm.nix
      { services.flowkit.${role}.enable = true; }
    ];
in
builtins.listToAttrs (
  map (role: {
    name = role;
    value = alone role;
  }) roles
)
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
