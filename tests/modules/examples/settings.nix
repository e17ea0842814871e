{
  services.flowkit.flowdb.settings = {
    FLOWDB_PORT = 9100;
    FLOWDB_TOTAL_MEMORY = "16GB"; # leave the rest of the machine alone
    CACHE_SIZE = "200GB";
    NO_USE_JIT = true;
  };
}
