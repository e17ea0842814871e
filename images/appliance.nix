# The appliance: one host with every role that can be run, and nothing else. What it runs on is added by whoever builds
# it: vm.nix for a machine in QEMU, disk.nix for a disk to give to a hypervisor.
{ config, lib, ... }:
{
  imports = [
    ../modules/presets/single-host.nix
    ./machine.nix
  ];

  networking.hostName = lib.mkDefault "flowkit";
}
