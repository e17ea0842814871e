# FlowAPI as a NixOS service: what src/roles/flowapi.toml cannot say.
import ./lib/role.nix {
  name = "flowapi";

  programs = packages: { FLOWKIT_FLOWAPI_SERVER = "${packages.flowapi}/bin/flowapi"; };
}
