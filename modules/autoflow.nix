# AutoFlow as a NixOS service: what src/roles/autoflow.toml cannot say.
import ./lib/role.nix {
  name = "autoflow";

  programs = packages: {
    FLOWKIT_AUTOFLOW_SERVER = "${packages.autoflow}/bin/autoflow";
    FLOWKIT_AUTOFLOW_PYTHON = "${packages.notebooks}/bin/python";
  };

  # Jupyter's kernels and whoever starts them speak by ZeroMQ.
  relax = _: [
    "netlink"
    "scheduling"
  ];
}
