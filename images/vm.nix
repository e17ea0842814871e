# A machine in QEMU: `system.build.runner` boots it headless, with ports of the host that lead to its roles, secrets from a
# directory of the host, and its state in a file that survives.
{
  config,
  lib,
  modulesPath,
  pkgs,
  ...
}:
let
  catalogue = import ../modules/lib/catalogue.nix;
  running = lib.filter (role: config.services.flowkit.${role.name}.enable) (
    lib.attrValues catalogue.roles
  );
  memory = lib.foldl' (
    sum: role: sum + role.needs.memory-mib + (role.needs.database-mib or 0)
  ) 0 running;

  # Directories of the host that a role only reads, by the names that the guide gives them.
  shares =
    role:
    map (volume: {
      inherit (volume) setting;
      tag = baseNameOf volume.container;
      at = "/mnt/flowkit-${baseNameOf volume.container}";
    }) (lib.filter (volume: volume ? setting && volume.read-only or false) (role.volume or [ ]));
  shared = lib.concatMap shares running;
  # What is shown where none is given: AutoFlow has the example's workflow.
  otherwise = {
    AUTOFLOW_INPUTS_DIR = ../examples/autoflow;
  };
  nothing = pkgs.runCommand "nothing" { } "mkdir $out";
in
{
  imports = [
    ./machine.nix
    "${modulesPath}/virtualisation/qemu-vm.nix"
  ];

  networking.hostName = lib.mkDefault "flowkit";

  # What is not in the machine is looked for on the host, which alone reaches it.
  services.flowkit = {
    publishPlain = true;
  }
  // lib.mapAttrs (
    _: role:
    {
      settings = lib.listToAttrs (
        map
          (
            talk:
            lib.nameValuePair talk.setting (
              lib.mkDefault (
                lib.replaceStrings
                  [ "{host}" "{port}" ]
                  [
                    "10.0.2.2"
                    (toString (lib.head (import ../src/roles).${talk.role}.port).container)
                  ]
                  talk.form
              )
            )
          )
          (
            lib.filter (
              talk: talk ? form && !(talk.optional or false) && !config.services.flowkit.${talk.role}.enable
            ) (role.talks-to or [ ])
          )
        ++ map (setting: lib.nameValuePair setting.name (lib.mkDefault "10.0.2.2")) (
          lib.filter (
            setting:
            setting.type == "host"
            && setting.owner != role.name
            && !config.services.flowkit.${setting.owner}.enable
          ) (catalogue.settingsOf role)
        )
      );
    }
    // lib.optionalAttrs (shares role != [ ]) {
      directories = lib.listToAttrs (map (share: lib.nameValuePair share.setting share.at) (shares role));
    }
  ) catalogue.roles;

  virtualisation = {
    graphics = false;
    cores = lib.mkDefault 2;
    # The roles' own, and as much for the system and for the page cache.
    memorySize = lib.mkDefault (1024 + memory);
    # Grows in the file as it is used.
    diskSize = lib.mkDefault (64 * 1024);
    # The runner says where.
    diskImage = "./flowkit.qcow2";
    # Python reads thousands of files, for which 9p is slow. NixOS packs the image anew at every start.
    useNixStoreImage = lib.mkDefault true;
    writableStore = false;
    sharedDirectories = {
      secrets = {
        source = ''"$FLOWKIT_VM_SECRETS"'';
        # Not below /run, which the initial system would hide.
        target = "/mnt/flowkit-secrets";
        securityModel = "none";
      };
    }
    // lib.listToAttrs (
      map (
        share:
        lib.nameValuePair share.tag {
          source = ''"''${${share.setting}:-${otherwise.${share.setting} or nothing}}"'';
          target = share.at;
          securityModel = "none";
        }
      ) shared
    );
  };

  # Where the processor is emulated, a start takes minutes, and Airflow's many of them.
  systemd.services = {
    flowkit-secrets-offered.unitConfig.RequiresMountsFor =
      config.virtualisation.sharedDirectories.secrets.target;
  }
  // lib.listToAttrs (
    map (
      role:
      lib.nameValuePair "flowkit-${role.name}" {
        serviceConfig.TimeoutStartSec = lib.mkForce 3600;
      }
    ) running
  );

  # Whoever runs the machine holds its disk: the console asks for no password.
  services.getty.autologinUser = lib.mkDefault "root";

  system.build.runner = pkgs.writeShellApplication {
    name = "flowkit-vm";
    runtimeInputs = [ config.virtualisation.qemu.package ];
    runtimeEnv = {
      BOOT = "${config.system.build.vm}/bin/run-${config.system.name}-vm";
      PORTS = lib.concatMapStringsSep " " (
        port: "${port.published}:${toString port.number}"
      ) config.services.flowkit.published;
      SHARES = toString (map (share: share.setting) shared);
      KERNEL = "${config.system.build.toplevel}/kernel";
      ARCHITECTURE = pkgs.stdenv.hostPlatform.parsed.cpu.name;
    };
    text = builtins.readFile ./run-vm.sh;
    meta.description = "Boot FlowKit's virtual machine";
  };
}
