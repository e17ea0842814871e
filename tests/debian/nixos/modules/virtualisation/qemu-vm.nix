# nixos/modules/virtualisation/qemu-vm.nix: `system.build.vm`, a script that boots the system in QEMU. Its variables are
# those of NixOS: NIX_DISK_IMAGE (where changes are kept), TMPDIR with USE_TMPDIR, QEMU_OPTS, QEMU_NET_OPTS,
# QEMU_KERNEL_PARAMS; further arguments go to QEMU.
#
# Not as there: a shared directory is copied when the machine starts, read-only, as Debian's kernel for virtual machines
# has no 9p; the store is always on an image of its own.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.virtualisation;
  inherit (config.system) build name;

  size =
    default: description:
    mkOption {
      type = types.ints.positive;
      inherit default description;
    };
  flag =
    default: description:
    mkOption {
      type = types.bool;
      inherit default description;
    };

  forwards = lib.concatMapStrings (
    f:
    "hostfwd=${f.proto}:${f.host.address}:${toString f.host.port}-${f.guest.address}:${toString f.guest.port},"
  ) cfg.forwardPorts;

  drive =
    id: file: more:
    "-drive id=${id},if=none,file=${file},${more} -device virtio-blk-pci,drive=${id}";
in
{
  options.virtualisation = {
    memorySize = size 1024 "Memory, in MiB.";
    cores = size 1 "Processors.";
    # nixos/modules/virtualisation/disk-size-option.nix
    diskSize = size 1024 "Size of the disk with the changes, in MiB.";
    diskImage = mkOption {
      type = types.nullOr types.str;
      default = "./${name}.qcow2";
      description = "The disk with the changes; made when it is not there. Without one, changes are kept in memory.";
    };
    graphics = flag true "Whether there is a screen; there never is here.";
    writableStore = flag (
      !cfg.useNixStoreImage
    ) "Whether the store can be written to; it never can here.";
    useNixStoreImage = flag false "Whether the store is on an image of its own; it always is here.";
    forwardPorts = mkOption {
      default = [ ];
      description = "Ports of the host that lead into the machine.";
      type = types.listOf (
        types.submodule {
          options = {
            from = mkOption {
              type = types.enum [ "host" ];
              default = "host";
              description = "Where connections come from.";
            };
            proto = mkOption {
              type = types.enum [
                "tcp"
                "udp"
              ];
              default = "tcp";
              description = "Protocol.";
            };
          }
          // lib.genAttrs [ "host" "guest" ] (_: {
            address = mkOption {
              type = types.str;
              default = "";
              description = "Address.";
            };
            port = mkOption {
              type = types.port;
              description = "Port.";
            };
          });
        }
      );
    };
    sharedDirectories = mkOption {
      default = { };
      description = "Directories of the host, by tag.";
      type = types.attrsOf (
        types.submodule {
          options = {
            source = mkOption {
              type = types.str;
              description = "Where it is on the host, as a word of the shell.";
            };
            target = mkOption {
              type = types.path;
              description = "Where it is mounted.";
            };
            securityModel = mkOption {
              type = types.enum [
                "passthrough"
                "mapped-xattr"
                "mapped-file"
                "none"
              ];
              default = "mapped-xattr";
              description = "Whose files they are; root's here.";
            };
          };
        }
      );
    };
    qemu.package = mkOption {
      type = types.package;
      default = pkgs.qemu;
      description = "QEMU.";
    };
    qemu.options = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Further arguments of QEMU, as words of the shell.";
    };
    qemu.guestAgent.enable = flag false "Whether QEMU's agent runs; it never does here.";
  };

  config = {
    assertions = [
      {
        assertion = cfg.useNixStoreImage && !cfg.writableStore;
        message = "tests/debian has a store that is an image of its own and read-only.";
      }
    ];
    boot.loader.grub.enable = lib.mkOverride 10 false;
    fileSystems = {
      "/" =
        if cfg.diskImage == null then
          {
            device = "tmpfs";
            fsType = "tmpfs";
          }
        else
          {
            device = "/dev/disk/by-label/nixos";
            fsType = "ext4";
          };
      "/nix/store" = {
        device = "/dev/disk/by-label/nix-store";
        fsType = "erofs";
      };
    }
    // lib.mapAttrs' (
      tag: share:
      lib.nameValuePair share.target {
        device = "/dev/disk/by-label/${tag}";
        fsType = "erofs";
        options = [ "ro" ];
      }
    ) cfg.sharedDirectories;

    system.build.storeImage = import ../../store-image.nix { inherit pkgs; } [ build.toplevel ];

    system.build.vm = pkgs.writeShellApplication {
      name = "run-${name}-vm";
      runtimeInputs = [ cfg.qemu.package ];
      passthru.toplevel = build.toplevel;
      text = ''
        ${lib.optionalString (cfg.diskImage != null) ''
          NIX_DISK_IMAGE=$(readlink -f "''${NIX_DISK_IMAGE:-${cfg.diskImage}}")
          if [ ! -e "$NIX_DISK_IMAGE" ]; then
              new=$(mktemp "$NIX_DISK_IMAGE.XXXXXX")
              truncate -s ${toString cfg.diskSize}M "$new"
              /usr/sbin/mkfs.ext4 -q -L nixos "$new"
              qemu-img convert -f raw -O qcow2 "$new" "$new.qcow2"
              mv "$new.qcow2" "$NIX_DISK_IMAGE"
              rm "$new"
          fi
        ''}
        if [ -z "''${TMPDIR:-}" ] || [ -z "''${USE_TMPDIR:-}" ]; then TMPDIR=$(mktemp -d --tmpdir nix-vm.XXXXXX); fi
        ${lib.concatStrings (
          lib.mapAttrsToList (tag: share: ''
            rm -f "$TMPDIR/${tag}.img"
            /usr/bin/mkfs.erofs --quiet --all-root -L ${tag} "$TMPDIR/${tag}.img" ${share.source} >/dev/null
          '') cfg.sharedDirectories
        )}
        cd "$TMPDIR"
        # shellcheck disable=SC2086
        exec qemu-system-x86_64 -machine q35,accel=kvm:tcg -cpu max -name ${name} \
          -m ${toString cfg.memorySize} -smp ${toString cfg.cores} \
          -nodefaults -no-user-config -display none -serial mon:stdio -device virtio-rng-pci \
          -nic user,model=virtio-net-pci,${forwards}"''${QEMU_NET_OPTS:-}" \
          ${drive "debian" "${build.base}/debian.img" "format=raw,read-only=on"} \
          ${drive "store" "${build.storeImage}" "format=raw,read-only=on"} \
          ${
            lib.optionalString (cfg.diskImage != null) (
              drive "root" ''"$NIX_DISK_IMAGE"'' "cache=writeback,werror=report"
            )
          } \
          ${
            lib.concatStrings (
              lib.mapAttrsToList (
                tag: _: drive tag ''"$TMPDIR/${tag}.img"'' "format=raw,read-only=on" + " "
              ) cfg.sharedDirectories
            )
          } \
          -kernel ${build.base}/vmlinuz -initrd ${build.base}/initrd \
          -append "$(cat ${build.toplevel}/kernel-params) console=ttyS0 ''${QEMU_KERNEL_PARAMS:-}" \
          ${lib.concatStringsSep " " cfg.qemu.options} ''${QEMU_OPTS:-} "$@"
      '';
    };
  };
}
