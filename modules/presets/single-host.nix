# Every role on one host, with secrets that are made at first start. Each part can be switched off or set otherwise.
{ lib, ... }:
{
  imports = [ ../. ];

  services.flowkit = {
    makeSecrets = lib.mkDefault true;
  }
  // lib.mapAttrs (_: _: { enable = lib.mkDefault true; }) (import ../lib/catalogue.nix).roles;
}
