# FlowMachine as a NixOS service: what src/roles/flowmachine.toml cannot say.
import ./lib/role.nix {
  name = "flowmachine";

  programs = packages: { FLOWKIT_PYTHON = "${packages.flowmachine}/bin/python"; };

  relax = _: [
    "netlink"
    "scheduling"
  ];
}
