{ config, ... }:
{
  services.flowkit.redis = {
    enable = true;
    secrets.REDIS_PASSWORD = config.age.secrets.redis-password.path;
  };
}
