# FlowETL as a NixOS service: what src/roles/flowetl.toml cannot say.
import ./lib/role.nix {
  name = "flowetl";

  programs = packages: {
    FLOWKIT_FLOWETL_PYTHON = "${packages.flowetl}/bin/python";
    FLOWKIT_POSTGRES_BIN = "${packages.plain-postgresql}/bin";
    FLOWKIT_REDIS_SERVER = "${packages.redis}/bin/redis-server";
  };

  # Airflow asks psutil about its processes, which reads /proc/stat.
  relax = _: [
    "machine"
    "processes"
  ];
}
