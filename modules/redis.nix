# redis as a NixOS service: what src/roles/redis.toml cannot say.
import ./lib/role.nix {
  name = "redis";

  programs = packages: { FLOWKIT_REDIS_SERVER = "${packages.redis}/bin/redis-server"; };
}
