# FlowDB as a NixOS service: what src/roles/flowdb.toml cannot say.
import ./lib/role.nix {
  name = "flowdb";

  programs = packages: { FLOWKIT_POSTGRES_BIN = "${packages.postgresql}/bin"; };

  # PostgreSQL compiles queries unless it is told not to.
  relax = settings: [ "machine" ] ++ (if settings.NO_USE_JIT == true then [ ] else [ "jit" ]);

  # The kernel's memory killer takes a session, which PostgreSQL survives, before the server, which it does not.
  serviceConfig.OOMScoreAdjust = -900;
}
