{ packages, ... }:
{
  env.FLOWKIT_PYTHON = "${packages.flowmachine}/bin/python";
  top = [
    packages.flowmachine
    packages.flowmachine.launcher
  ];
}
