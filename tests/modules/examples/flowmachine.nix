{
  services.flowkit.flowmachine = {
    enable = true;
    settings.FLOWDB_HOST = "10.0.0.5";
    settings.REDIS_HOST = "10.0.0.5";
    secretsDir = "/run/keys/flowkit";
  };
}
