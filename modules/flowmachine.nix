# FlowMachine as a NixOS service: what src/roles/flowmachine.toml cannot say.
import ./lib/role.nix {
  name = "flowmachine";

  programs = packages: { FLOWKIT_PYTHON = "${packages.flowmachine}/bin/python"; };

  relax = _: [
    "netlink"
    "scheduling"
  ];

  assertions =
    { settings, ... }:
    [
      {
        assertion =
          builtins.match "127\\..*|10\\..*|192\\.168\\..*|172\\.(1[6-9]|2[0-9]|3[01])\\..*|100\\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\\..*" settings.FLOWKIT_FLOWMACHINE_LISTEN
          != null;
        message = "services.flowkit.flowmachine.settings.FLOWKIT_FLOWMACHINE_LISTEN is ${settings.FLOWKIT_FLOWMACHINE_LISTEN}: whoever reaches FlowMachine can run any query, without a password. Give 127.0.0.1, or one address of this host in a private network (10.*, 172.16.* to 172.31.*, 192.168.*, 100.64.* to 100.127.*).";
      }
    ];
}
