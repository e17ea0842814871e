{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking;
  ports = mkOption {
    type = types.listOf types.port;
    default = [ ];
    description = "Ports that others may connect to.";
  };
  accept =
    protocol: list:
    lib.optionalString (list != [ ])
      "    ${protocol} dport { ${lib.concatMapStringsSep ", " toString (lib.unique list)} } accept\n";
in
{
  options.networking = {
    # nixos/modules/tasks/network-interfaces.nix
    hostName = mkOption {
      type = types.strMatching "[a-zA-Z0-9]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?|";
      default = "nixos";
      description = "The name of the machine.";
    };
    useDHCP = mkOption {
      type = types.bool;
      default = true;
      description = "Whether interfaces get their addresses by DHCP.";
    };
    # nixos/modules/tasks/network-interfaces-systemd.nix; there is nothing else here
    useNetworkd = mkOption {
      type = types.bool;
      default = false;
      description = "Whether systemd-networkd configures interfaces.";
    };
    # nixos/modules/services/networking/nftables.nix; there is nothing else here
    nftables.enable = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the firewall is made of nftables.";
    };
    # nixos/modules/services/networking/firewall.nix
    firewall = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether connections from outside are refused unless they are allowed.";
      };
      allowedTCPPorts = ports;
      allowedUDPPorts = ports;
    };
  };

  config = {
    assertions = [
      {
        assertion = cfg.useNetworkd && (cfg.firewall.enable -> cfg.nftables.enable);
        message = "tests/debian has networking.useNetworkd and networking.nftables only.";
      }
    ];
    files = {
      "/etc/hostname".text = "${cfg.hostName}\n";
      "/etc/hosts".text = "127.0.0.1 localhost\n::1 localhost\n127.0.0.2 ${cfg.hostName}\n";
    }
    // lib.optionalAttrs cfg.useDHCP {
      "/etc/systemd/network/80-dhcp.network".text = ''
        [Match]
        Type=ether
        Name=e*
        [Network]
        DHCP=yes
      '';
      "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service".link =
        "/usr/lib/systemd/system/systemd-networkd.service";
      "/etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service".link =
        "/usr/lib/systemd/system/systemd-networkd-wait-online.service";
    }
    // lib.optionalAttrs cfg.firewall.enable {
      "/etc/systemd/system/sysinit.target.wants/nftables.service".link =
        "/usr/lib/systemd/system/nftables.service";
      "/etc/nftables.conf".text = ''
        flush ruleset
        table inet firewall {
          chain input {
            type filter hook input priority filter; policy drop;
            iif lo accept
            ct state established,related accept
            meta l4proto { 1, 58 } accept # ICMP, by number: Debian has the names in a package of its own
            udp dport 68 accept
        ${accept "tcp" cfg.firewall.allowedTCPPorts}${accept "udp" cfg.firewall.allowedUDPPorts}  }
        }
      '';
    };
  };
}
