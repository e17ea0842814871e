{ packages, ... }:
{
  env.FLOWKIT_PYTHON = "${packages.flowmachine}/bin/python";
}
