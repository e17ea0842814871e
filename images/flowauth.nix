# FlowAuth, and PostgreSQL for its data, which needs what FlowDB's does.
{ pkgs, packages }:
{
  env = {
    FLOWKIT_FLOWAUTH_SERVER = "${packages.flowauth}/bin/flowauth";
    FLOWKIT_POSTGRES_BIN = "${packages.plain-postgresql}/bin";
    FLOWKIT_NSS_WRAPPER = "${pkgs.nss_wrapper}/lib/libnss_wrapper.so";
  };
  links."/bin/sh" = "${pkgs.dash}/bin/dash";
  path = [ packages.plain-postgresql ];
  closure = [
    pkgs.nss_wrapper
    pkgs.dash
  ];
  top = [ packages.flowauth ];
}
