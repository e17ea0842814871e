# nixos/modules/profiles/image-based-appliance.nix
{ lib, ... }:
{
  documentation.enable = lib.mkDefault false;
  nix.enable = false;
  system.switch.enable = false;
  users.mutableUsers = false;
  boot.initrd.systemd.enable = lib.mkDefault true;
  networking.useNetworkd = lib.mkDefault true;
}
