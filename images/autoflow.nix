{ pkgs, packages }:
{
  env = {
    FLOWKIT_AUTOFLOW_SERVER = "${packages.autoflow}/bin/autoflow";
    FLOWKIT_AUTOFLOW_PYTHON = "${packages.notebooks}/bin/python";
  };
  # For a FlowAPI or FlowAuth elsewhere, known by an issuer that everybody trusts.
  links."/etc/ssl/certs/ca-certificates.crt" = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
  closure = [ pkgs.cacert ];
  top = [
    packages.notebooks
    packages.notebooks.launcher
    packages.autoflow
  ];
}
