{ config, ... }:
{
  services.flowkit.redis = {
    enable = true;
    secrets.REDIS_PASSWORD = config.sops.secrets.redis-password.path;
  };
}
