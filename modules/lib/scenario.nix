# The roles of one of the guide's scenarios on one host, as the catalogue says which, with secrets that the host makes itself. Each part can be
# switched off or set otherwise.
scenario: without:
{ lib, ... }:
let
  inherit (import ./catalogue.nix) roles;
  chosen = lib.filterAttrs (_: role: lib.elem scenario role.scenarios) roles;
in
{
  imports = [ ../. ];

  services.flowkit = {
    makeSecrets = lib.mkDefault true;
  }
  // lib.mapAttrs (_: _: { enable = lib.mkDefault true; }) (removeAttrs chosen without);
}
