# FlowETL on Apache Airflow, and PostgreSQL for what Airflow remembers, which needs what FlowDB's does.
{ pkgs, packages }:
{
  env = {
    FLOWKIT_FLOWETL_PYTHON = "${packages.flowetl}/bin/python";
    FLOWKIT_POSTGRES_BIN = "${packages.plain-postgresql}/bin";
    FLOWKIT_NSS_WRAPPER = "${pkgs.nss_wrapper}/lib/libnss_wrapper.so";
  };
  links."/bin/sh" = "${pkgs.dash}/bin/dash";
  path = [ packages.plain-postgresql ];
  closure = [
    pkgs.nss_wrapper
    pkgs.dash
  ];
  top = [
    packages.flowetl
    packages.flowetl.launcher
  ];
}
