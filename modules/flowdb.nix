# FlowDB as a NixOS service: what src/roles/flowdb.toml cannot say.
import ./lib/role.nix {
  name = "flowdb";

  programs = packages: { FLOWKIT_POSTGRES_BIN = "${packages.postgresql}/bin"; };

  # PostgreSQL compiles queries when it is told to, and has a compiler (nixpkgs' `postgresql_17_jit`).
  relax = settings: [ "machine" ] ++ (if settings.NO_USE_JIT == false then [ "jit" ] else [ ]);

  # The kernel's memory killer takes a session, which PostgreSQL survives, before the server, which it does not.
  serviceConfig.OOMScoreAdjust = -900;
}
