{
  services.flowkit.autoflow = {
    enable = true;
    directories.AUTOFLOW_INPUTS_DIR = "${./workflows}"; # or a directory of the host: "/srv/workflows"
    directories.AUTOFLOW_OUTPUTS_DIR = "/srv/reports";
  };
}
