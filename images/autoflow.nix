{ packages, ... }:
{
  env = {
    FLOWKIT_AUTOFLOW_SERVER = "${packages.autoflow}/bin/autoflow";
    FLOWKIT_AUTOFLOW_PYTHON = "${packages.notebooks}/bin/python";
  };
  top = [
    packages.notebooks
    packages.notebooks.launcher
    packages.autoflow
  ];
}
