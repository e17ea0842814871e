# FlowMachine: a Python interpreter that has it.
{ lib, callPackage }:
callPackage ./python.nix {
  name = "flowmachine";
  description = "Python with FlowMachine, the server that turns queries into SQL";
  license = lib.licenses.mpl20;
  imports = [
    "flowmachine"
    "flowmachine.core.server.server"
  ];
}
