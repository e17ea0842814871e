# What nixos/modules/testing/test-instrumentation.nix gives the driver: a root shell on a console of its own.
{ lib, pkgs, ... }:
{
  systemd.services.backdoor = {
    wantedBy = [ "multi-user.target" ];
    after = [ "dev-hvc0.device" ];
    requires = [ "dev-hvc0.device" ];
    unitConfig.DefaultDependencies = false;
    script = ''
      cd /root
      export USER=root HOME=/root PS1=
      . /etc/profile
      exec </dev/hvc0 >/dev/hvc0 2>/dev/ttyS0
      stty raw -echo
      echo "the shell is there"
      exec bash --norc --noprofile
    '';
    serviceConfig = {
      KillSignal = "SIGHUP";
      Restart = "no";
    };
  };
  # A login on a console hangs it up, and what others write there then fails.
  systemd.services."serial-getty@hvc0".enable = false;
  systemd.services."serial-getty@ttyS0".enable = false;
}
