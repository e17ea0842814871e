# FlowAuth alone on a host outside the firewall: it connects to no other role, and has no secret of theirs.
{ lib, ... }:
{
  imports = [ ../. ];

  services.flowkit = {
    makeSecrets = lib.mkDefault true;
    flowauth.enable = lib.mkDefault true;
  };
}
