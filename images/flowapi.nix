{ packages, ... }:
{
  env.FLOWKIT_FLOWAPI_SERVER = "${packages.flowapi}/bin/flowapi";
  top = [ packages.flowapi ];
}
