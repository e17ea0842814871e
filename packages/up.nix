# `flowkit up` on a machine that has nothing: the roles as plain processes of whoever calls it.
{
  lib,
  writeShellApplication,
  packages,
}:
writeShellApplication {
  name = "flowkit-up";
  runtimeInputs = [ packages.redis ];
  text = ''
    export FLOWKIT_POSTGRES_BIN=''${FLOWKIT_POSTGRES_BIN-${packages.postgresql}/bin}
    export FLOWKIT_PYTHON=''${FLOWKIT_PYTHON-${packages.flowmachine}/bin/python}
    export FLOWKIT_FLOWAPI_SERVER=''${FLOWKIT_FLOWAPI_SERVER-${lib.getExe packages.flowapi}}
    export FLOWKIT_FLOWAUTH_SERVER=''${FLOWKIT_FLOWAUTH_SERVER-${lib.getExe packages.flowauth}}
    exec ${lib.getExe packages.flowkit} up "$@"
  '';
}
