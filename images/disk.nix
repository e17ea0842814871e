# A disk to give to a hypervisor: `system.build.image`, made without a virtual machine and the same bytes each time.
#
#   ESP      the kernel and everything that it needs to start, as one EFI program
#   store    the system, read-only (erofs, compressed)
#   state    /var; it takes the rest of whatever disk the image is put on when the machine starts
#
# The root file system is in memory. Secrets are made at the first start, or come from a second disk or volume whose file
# system is labelled `flowkit-keys`.
{
  config,
  lib,
  modulesPath,
  pkgs,
  ...
}:
let
  efi = pkgs.stdenv.hostPlatform.efiArch;
  partition = label: "/dev/disk/by-partlabel/${label}";
  # Of a type that no other partition of the disk has: by it the partition is found again when it grows.
  state = {
    Type = "srv";
    Label = "flowkit-state";
  };
  keys = {
    device = "/dev/disk/by-label/flowkit-keys";
    at = "/mnt/flowkit-secrets";
  };
in
{
  imports = [
    ./machine.nix
    "${modulesPath}/image/repart.nix"
    # Neither Nix, nor users that are made by hand, nor another configuration to switch to.
    "${modulesPath}/profiles/image-based-appliance.nix"
  ];

  # On purpose: see docs/vm.md.
  users.allowNoPasswordLogin = true;

  system.image = {
    id = lib.mkDefault "flowkit";
    version = lib.mkDefault (lib.importTOML ../Cargo.toml).workspace.package.version;
  };

  image.repart = {
    name = "flowkit";
    # Partitions get their identifiers from it: the same ones each time.
    seed = "6f1d6a52-6b9e-4c58-9d61-7a2f9b1c0d11";
    # What would be the clock's, the builder's, or random.
    mkfsOptions = {
      erofs = [ "-T 1 --all-root" ];
      ext4 = [ "-E hash_seed=6f1d6a52-6b9e-4c58-9d61-7a2f9b1c0d11" ];
    };
    partitions = {
      "10-esp" = {
        contents."/EFI/BOOT/BOOT${lib.toUpper efi}.EFI".source =
          "${config.system.build.uki}/${config.system.boot.loader.ukiFile}";
        repartConfig = {
          Type = "esp";
          Format = "vfat";
          SizeMinBytes = "96M";
          SizeMaxBytes = "96M";
        };
      };
      "20-store" = {
        storePaths = [ config.system.build.toplevel ];
        nixStorePrefix = "/";
        repartConfig = {
          Type = "linux-generic";
          Label = "flowkit-store";
          Format = "erofs";
          Minimize = "best";
          # Of all that erofs knows, what every kernel reads.
          Compression = "lz4hc";
        };
      };
      "50-state".repartConfig = state // {
        Format = "ext4";
        SizeMinBytes = "256M";
        SizeMaxBytes = "256M";
      };
    };
  };

  boot.loader.grub.enable = false;
  # Screen and serial line; what is started last speaks on the serial line.
  boot.kernelParams = [
    "console=tty0"
    "console=${if pkgs.stdenv.hostPlatform.isAarch64 then "ttyAMA0" else "ttyS0"}"
  ];
  # The disks of QEMU and KVM, VirtualBox, VMware, Hyper-V and Xen.
  boot.initrd.availableKernelModules = [
    "ahci"
    "erofs"
    "nvme"
    "sd_mod"
    "virtio_blk"
    "virtio_pci"
    "virtio_scsi"
    "xen-blkfront"
  ]
  ++ lib.optionals pkgs.stdenv.hostPlatform.isx86_64 [
    "ata_piix"
    "hv_storvsc"
    "mptspi"
    "vmw_pvscsi"
  ];

  fileSystems = {
    "/" = {
      device = "tmpfs";
      fsType = "tmpfs";
      options = [ "mode=0755" ];
    };
    "/nix/store" = {
      device = partition "flowkit-store";
      fsType = "erofs";
      options = [ "ro" ];
      neededForBoot = true;
    };
    "/var" = {
      device = partition "flowkit-state";
      fsType = "ext4";
      autoResize = true;
      neededForBoot = true;
    };
    ${keys.at} = {
      device = keys.device;
      fsType = "auto";
      options = [
        "ro"
        "noauto"
        "nofail"
      ];
    };
  };

  # The machine's identity, by which journals and addresses are found again, is made at the first start and kept with the
  # state: the root file system forgets it.
  boot.initrd.systemd.services.flowkit-machine-id = {
    description = "The identity of this machine";
    wantedBy = [ "initrd.target" ];
    before = [ "initrd.target" ];
    unitConfig = {
      DefaultDependencies = false;
      RequiresMountsFor = "/sysroot/var";
    };
    serviceConfig.Type = "oneshot";
    script = ''
      kept=/sysroot/var/lib/flowkit-machine-id
      mkdir -p /sysroot/var/lib /sysroot/etc
      [ -s "$kept" ] || tr -d - </proc/sys/kernel/random/uuid >"$kept"
      cp "$kept" /sysroot/etc/machine-id
    '';
  };

  # A volume with secrets is mounted when there is one, which is known when all devices have been looked at. One that cannot
  # be mounted stops the start: other secrets must not be made instead.
  systemd.services.flowkit-secrets-offered.preStart = ''
    udevadm settle --timeout=600
    if [ -e ${keys.device} ]; then
        systemctl start "$(systemd-escape --path --suffix=mount ${keys.at})"
    fi
  '';

  # The disk may be larger than the image: always at the first start, and whenever somebody enlarges it.
  environment.etc."flowkit/grow.d/state.conf".text = lib.concatLines (
    [ "[Partition]" ] ++ lib.mapAttrsToList (key: value: "${key}=${value}") state
  );
  systemd.services.flowkit-grow-state = {
    description = "The rest of the disk for FlowKit's state";
    wantedBy = [ "multi-user.target" ];
    before = map (role: "flowkit-${role}.service") (lib.attrNames config.services.flowkit.running);
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
    };
    script = ''
      partition=$(basename "$(readlink -f ${partition state.Label})")
      disk=/dev/$(basename "$(dirname "$(readlink -f "/sys/class/block/$partition")")")
      systemd-repart --dry-run=no --definitions=/etc/flowkit/grow.d "$disk"
      systemctl restart systemd-growfs@var.service
    '';
  };
}
