# PostgreSQL. The one image with a shell: initdb starts the server through popen(3), which is /bin/sh.
{ pkgs, packages }:
{
  env = {
    FLOWKIT_POSTGRES_BIN = "${packages.postgresql}/bin";
    # PostgreSQL wants a name for its user, whichever it is told to run as.
    FLOWKIT_NSS_WRAPPER = "${pkgs.nss_wrapper}/lib/libnss_wrapper.so";
    # For files that ogr_fdw reads over HTTPS.
    SSL_CERT_FILE = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
  };
  links = {
    "/bin/sh" = "${pkgs.dash}/bin/dash";
    "/usr/share/zoneinfo" = "${pkgs.tzdata}/share/zoneinfo";
  };
  path = [ packages.postgresql ];
  closure = [
    pkgs.nss_wrapper
    pkgs.cacert
    pkgs.dash
    pkgs.tzdata
  ];
}
