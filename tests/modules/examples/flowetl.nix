{
  services.flowkit.flowdb.directories.FLOWDB_ETL_DIR = "/srv/cdr"; # to be loaded; DAG files call it /etl
  services.flowkit.flowetl = {
    enable = true;
    directories.FLOWETL_HOST_DAG_DIR = "${./dags}"; # or a directory of the host: "/srv/dags"
    secrets.AIRFLOW_CONN_SFTP = "/run/keys/sftp"; # any variable may be a secret
    allowedAddresses = [
      "localhost"
      "192.0.2.7" # a DAG fetches files from there
    ];
  };
}
