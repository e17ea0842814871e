# FlowETL on Apache Airflow, PostgreSQL for what Airflow remembers, which needs what FlowDB's does, and redis between Celery's workers.
{ pkgs, packages }:
{
  env = {
    FLOWKIT_FLOWETL_PYTHON = "${packages.flowetl}/bin/python";
    FLOWKIT_POSTGRES_BIN = "${packages.plain-postgresql}/bin";
    FLOWKIT_REDIS_SERVER = "${packages.redis}/bin/redis-server";
    FLOWKIT_NSS_WRAPPER = "${pkgs.nss_wrapper}/lib/libnss_wrapper.so";
  };
  links."/bin/sh" = "${pkgs.dash}/bin/dash";
  path = [
    packages.plain-postgresql
    packages.redis
  ];
  closure = [
    pkgs.nss_wrapper
    pkgs.dash
  ];
  top = [
    packages.flowetl
    packages.flowetl.launcher
  ];
}
