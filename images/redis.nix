{ packages, ... }:
{
  env.FLOWKIT_REDIS_SERVER = "${packages.redis}/bin/redis-server";
  path = [ packages.redis ];
}
