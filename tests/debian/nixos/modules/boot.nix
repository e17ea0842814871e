{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  flag =
    default:
    mkOption {
      type = types.bool;
      inherit default;
      description = "Whether it is on.";
    };
  names = mkOption {
    type = types.listOf types.str;
    default = [ ];
    description = "Names.";
  };
  fileSystem = {
    options = {
      device = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "What is mounted.";
      };
      fsType = mkOption {
        type = types.nonEmptyStr;
        description = "Its type.";
      };
      options = mkOption {
        type = types.nonEmptyListOf types.str;
        default = [ "defaults" ];
        description = "Mount options.";
      };
      neededForBoot = flag false;
      autoResize = flag false;
    };
  };
  # "/" and "/nix/store" are mounted by the initial file system, by label: nothing is known of disks there.
  label = device: lib.last (lib.splitString "/" device);
  early = [
    "/"
    "/nix/store"
  ];
  mounted = lib.filterAttrs (path: fs: fs.neededForBoot && !lib.elem path early) config.fileSystems;
  root = config.fileSystems."/";
  store = config.fileSystems."/nix/store";
in
{
  options = {
    # nixos/modules/tasks/filesystems.nix
    fileSystems = mkOption {
      type = types.attrsOf (types.submodule fileSystem);
      default = { };
      description = "What is mounted where.";
    };
    boot = {
      # nixos/modules/system/boot/kernel.nix
      kernelParams = names;
      initrd.availableKernelModules = names;
      initrd.kernelModules = names;
      # nixos/modules/system/boot/systemd/initrd.nix; its services are in systemd.nix
      initrd.systemd.enable = flag true;
      # nixos/modules/system/boot/loader/{grub/grub.nix,systemd-boot/systemd-boot.nix}; no loader is installed here
      loader.grub.enable = flag true;
      loader.systemd-boot.enable = flag false;
      loader.timeout = mkOption {
        type = types.nullOr types.int;
        default = 5;
        description = "Seconds until the default entry is booted.";
      };
    };
    # nixos/modules/system/boot/uki.nix
    system.boot.loader.ukiFile = mkOption {
      type = types.str;
      default =
        let
          inherit (config.system) image;
        in
        "${if image.id == null then "nixos" else image.id}${
          lib.optionalString (image.version != null) "_${image.version}"
        }.efi";
      description = "Name of the kernel with everything that it needs, as one EFI program.";
    };
    # nixos/modules/config/swap.nix
    swapDevices = mkOption {
      type = types.listOf types.raw;
      default = [ ];
      description = "Swap.";
    };
    # nixos/modules/misc/version.nix
    system.image = lib.genAttrs [ "id" "version" ] (
      _:
      mkOption {
        type = types.nullOr (types.strMatching "[a-zA-Z0-9._~^-]+");
        default = null;
        description = "What a disk image calls itself.";
      }
    );
  };

  config = {
    assertions = [
      {
        assertion = !config.boot.loader.grub.enable;
        message = "You must set the option ‘boot.loader.grub.devices’ or 'boot.loader.grub.mirroredBoots' to make the system bootable.";
      }
    ]
    ++ map (path: {
      assertion = config.fileSystems ? ${path};
      message = "The `fileSystems' option does not specify what is mounted at ${path}.";
    }) early;
    boot.kernelParams = [
      "boot=debian-layers"
      "loglevel=4"
      "audit=0"
      "layers.root=${if root.fsType == "tmpfs" then "tmpfs" else label root.device}"
      "layers.store=${label store.device}"
    ]
    ++ lib.mapAttrsToList (path: fs: "layers.mount=${label fs.device}:${path}") mounted;
    files."/etc/fstab".text = lib.concatStrings (
      lib.mapAttrsToList (
        path: fs:
        "${toString fs.device} ${path} ${fs.fsType} ${
          lib.concatStringsSep "," (fs.options ++ lib.optional fs.autoResize "x-systemd.growfs")
        } 0 0\n"
      ) (builtins.removeAttrs config.fileSystems early)
    );
  };
}
