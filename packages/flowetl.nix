# FlowETL: a Python interpreter that has it, and the Apache Airflow that runs it.
{ lib, callPackage }:
callPackage ./python.nix {
  name = "flowetl";
  description = "Python with FlowETL on Apache Airflow, which load call records";
  license = [
    lib.licenses.mpl20
    lib.licenses.asl20
  ];
  imports = [
    "flowetl"
    "airflow"
  ];
}
