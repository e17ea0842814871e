# What every unit is kept from, and what a role may be given back, by name: here and nowhere else. A unit with all of it
# has an exposure of about 1 by `systemd-analyze security`; tests hold each role's under 3.
{ lib }:
rec {
  strict = {
    # No privilege, and no way to one.
    CapabilityBoundingSet = "";
    NoNewPrivileges = true;
    RestrictSUIDSGID = true;
    PrivateUsers = true;
    KeyringMode = "private";

    # Nothing of the machine's files but what the unit names.
    ProtectSystem = "strict";
    ProtectHome = true;
    PrivateTmp = true;
    PrivateMounts = true;
    UMask = "0077";

    # No devices, no kernel, no clock, nobody else's processes.
    DevicePolicy = "closed";
    PrivateDevices = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectProc = "invisible";
    ProcSubset = "pid";
    RemoveIPC = true;

    # Of system calls and the network, what a server needs.
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    RestrictAddressFamilies = [
      "AF_UNIX"
      "AF_INET"
      "AF_INET6"
    ];
    RestrictNamespaces = true;
    RestrictRealtime = true;
    SystemCallArchitectures = "native";
    SystemCallErrorNumber = "EPERM";
    SystemCallFilter = [
      "@system-service"
      "~@privileged @resources"
    ];

    # A core dump would hold secrets.
    LimitCORE = 0;
  };

  relaxations = {
    # PostgreSQL compiles queries to machine code.
    jit.MemoryDenyWriteExecute = false;
    # What belongs to no process: FlowDB is tuned to the machine (/proc/meminfo, /proc/sys), psutil reads /proc/stat.
    machine.ProcSubset = "all";
    # Airflow looks after tasks that nobody may look into, not even their own user: such are hidden as others' processes are.
    processes.ProtectProc = "default";
    # ZeroMQ asks the kernel for the names of network interfaces and gives up for good without an answer.
    netlink.RestrictAddressFamilies = strict.RestrictAddressFamilies ++ [ "AF_NETLINK" ];
    # ZeroMQ tells the kernel how to schedule its threads (as they are anyway), and aborts when it may not.
    scheduling.SystemCallFilter = strict.SystemCallFilter ++ [ "sched_setscheduler" ];
  };

  # The settings of a unit that is allowed these relaxations.
  harden = lib.foldl' (unit: name: unit // relaxations.${name}) strict;

  # Which addresses a unit may exchange packets with; `any` alone means that nothing is filtered.
  network =
    addresses:
    lib.optionalAttrs (!lib.elem "any" addresses) {
      IPAddressDeny = "any";
      IPAddressAllow = addresses;
    };
}
