# FlowAuth alone on a host outside the firewall: it connects to no other role, and has no secret of theirs.
{ lib, ... }:
let
  roles = import ../../src/roles;
in
{
  imports = [ ../. ];

  config =
    if roles ? flowauth then
      {
        services.flowkit = {
          makeSecrets = lib.mkDefault true;
          flowauth.enable = lib.mkDefault true;
        };
      }
    else
      {
        assertions = [
          {
            assertion = false;
            message = "services.flowkit: the preset flowauth-outside is for FlowAuth alone, which this version of FlowKit appliance cannot run yet (it runs ${lib.concatStringsSep ", " (lib.attrNames roles)}). Remove the import.";
          }
        ];
      };
}
