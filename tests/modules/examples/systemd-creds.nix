{
  services.flowkit.secretsDir = "/etc/credstore.encrypted";
  services.flowkit.redis.enable = true;
}
