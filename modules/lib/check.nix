# Settings as a file that exists only when `flowkit check-config` accepts them.
{ lib, pkgs }:
{
  name,
  settings,
  package,
  check,
}:
let
  file = pkgs.writeText "flowkit-${name}-settings.json" (builtins.toJSON settings);
in
if check then
  pkgs.runCommand "flowkit-${name}-settings" { } ''
    # Under the name by which people know them: messages say where a value comes from.
    ln -s ${file} services.flowkit.${name}.settings
    ${lib.getExe' package "flowkit"} check-config ${name} services.flowkit.${name}.settings
    cp ${file} $out
  ''
else
  file
