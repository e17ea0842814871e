# PostgreSQL. It needs a shell: initdb starts the server through popen(3), which is /bin/sh.
{ pkgs, packages }:
{
  env = {
    FLOWKIT_POSTGRES_BIN = "${packages.postgresql}/bin";
    # PostgreSQL wants a name for its user, whichever it is told to run as.
    FLOWKIT_NSS_WRAPPER = "${pkgs.nss_wrapper}/lib/libnss_wrapper.so";
  };
  links = {
    "/bin/sh" = "${pkgs.dash}/bin/dash";
    # Where libcurl looks, for files that ogr_fdw reads over HTTPS.
    "/etc/ssl/certs/ca-certificates.crt" = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
  };
  path = [ packages.postgresql ];
  closure = [
    pkgs.nss_wrapper
    pkgs.cacert
    pkgs.dash
  ];
}
