# FlowAuth as a NixOS service: what src/roles/flowauth.toml cannot say.
import ./lib/role.nix {
  name = "flowauth";

  programs = packages: {
    FLOWKIT_FLOWAUTH_SERVER = "${packages.flowauth}/bin/flowauth";
    FLOWKIT_POSTGRES_BIN = "${packages.plain-postgresql}/bin";
  };
}
