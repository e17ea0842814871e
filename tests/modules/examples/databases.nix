{
  services.flowkit = {
    makeSecrets = true;
    flowdb = {
      enable = true;
      settings.FLOWKIT_FLOWDB_LISTEN = "10.0.0.5";
      allowedAddresses = [
        "localhost"
        "10.0.0.0/24"
      ];
      openFirewall = true;
    };
    redis = {
      enable = true;
      settings.FLOWKIT_REDIS_LISTEN = "10.0.0.5";
      allowedAddresses = [
        "localhost"
        "10.0.0.0/24"
      ];
      openFirewall = true;
    };
  };
}
