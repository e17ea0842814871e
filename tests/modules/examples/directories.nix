{
  services.flowkit.flowdb.directories = {
    FLOWDB_DATA_DIR = "/srv/flowdb"; # instead of /var/lib/flowkit/flowdb/flowdb/data
    FLOWDB_ETL_DIR = "/srv/cdr";
  };
}
