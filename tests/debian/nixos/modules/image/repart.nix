# nixos/modules/image/repart.nix: `system.build.image`, a disk made by systemd-repart without a virtual machine; and
# nixos/modules/system/boot/uki.nix: `system.build.uki`, the kernel with everything that it needs as one EFI program.
#
# Debian's own files are one more partition.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.image.repart;
  inherit (config.system) build;

  partition = name: p: {
    config = p.repartConfig;
    closure = if p.storePaths == [ ] then null else pkgs.closureInfo { rootPaths = p.storePaths; };
    prefix = p.nixStorePrefix;
    contents = lib.mapAttrs (_: c: "${c.source}") p.contents;
  };
in
{
  options = {
    image.repart = {
      name = mkOption {
        type = types.str;
        description = "Name of the image.";
      };
      version = mkOption {
        type = types.nullOr types.str;
        default = config.system.image.version;
        description = "Its version.";
      };
      imageFile = mkOption {
        type = types.str;
        readOnly = true;
        description = "Name of its file.";
      };
      seed = mkOption {
        type = types.nullOr types.str;
        default = "0867da16-f251-457d-a9e8-c31f9a3c220b";
        description = "What the identifiers of partitions are made from.";
      };
      mkfsOptions = mkOption {
        type = types.attrsOf (types.listOf types.str);
        default = { };
        description = "Further options of the programs that make file systems, by type.";
      };
      partitions = mkOption {
        default = { };
        description = "Partitions, in the order of their names.";
        type = types.attrsOf (
          types.submodule {
            options = {
              storePaths = mkOption {
                type = types.listOf types.path;
                default = [ ];
                description = "Store paths to put in, with their closure.";
              };
              nixStorePrefix = mkOption {
                type = types.path;
                default = "/nix/store";
                description = "Where they are in the partition.";
              };
              contents = mkOption {
                default = { };
                description = "Files to put in.";
                type = types.attrsOf (
                  types.submodule {
                    options.source = mkOption {
                      type = types.path;
                      description = "The file.";
                    };
                  }
                );
              };
              repartConfig = mkOption {
                description = "As in repart.d(5).";
                type = types.attrsOf (
                  let
                    value = types.oneOf [
                      types.str
                      types.int
                      types.bool
                    ];
                  in
                  types.either value (types.listOf value)
                );
              };
            };
          }
        );
      };
    };
  };

  config = {
    image.repart.imageFile = "${cfg.name}${
      lib.optionalString (cfg.version != null) "_${cfg.version}"
    }.raw";
    image.repart.partitions."15-debian".repartConfig = {
      Type = "linux-generic";
      Label = "debian";
      CopyBlocks = "${build.base}/debian.img";
    };

    system.build.uki = pkgs.runCommand config.system.boot.loader.ukiFile { } ''
      mkdir -p $out
      printf '%s' "$(cat ${build.toplevel}/kernel-params)" >cmdline
      printf 'ID=nixos\nPRETTY_NAME="${config.system.name}"\n' >osrel
      # Sections are added behind those of the stub, each at the next free page of its memory.
      alignment=4096
      next=$(/usr/bin/objdump -h ${build.base}/linuxx64.efi.stub | /usr/bin/python3 -c '
      import re, sys
      rows = re.findall(r"^ *\d+ \S+ +([0-9a-f]+) +([0-9a-f]+)", sys.stdin.read(), re.M)
      print(max(int(size, 16) + int(at, 16) for size, at in rows))')
      options=()
      for part in osrel:osrel cmdline:cmdline initrd:${build.base}/initrd linux:${build.base}/vmlinuz; do
        next=$(((next + alignment - 1) / alignment * alignment))
        options+=(--add-section ".''${part%%:*}=''${part#*:}" --change-section-vma ".''${part%%:*}=$next")
        next=$((next + $(stat -Lc %s "''${part#*:}")))
      done
      /usr/bin/objcopy "''${options[@]}" ${build.base}/linuxx64.efi.stub $out/${config.system.boot.loader.ukiFile}
    '';

    system.build.image = pkgs.stdenvNoCC.mkDerivation {
      name = cfg.name + lib.optionalString (cfg.version != null) "-${cfg.version}";
      __structuredAttrs = true;
      unsafeDiscardReferences.out = true;
      partitions = lib.mapAttrs partition cfg.partitions;
      passthru.filePath = cfg.imageFile;
      buildCommand = ''
        mkdir definitions tmp $out
        export TMPDIR=$PWD/tmp SOURCE_DATE_EPOCH=1
        ${lib.concatStrings (
          lib.mapAttrsToList (
            type: options:
            "export SYSTEMD_REPART_MKFS_OPTIONS_${lib.toUpper type}=${lib.escapeShellArg (lib.concatStringsSep " " options)}\n"
          ) cfg.mkfsOptions
        )}
        /usr/bin/python3 ${../../repart.py} "$NIX_ATTRS_JSON_FILE" definitions
        # As the owner of all files, which a builder is not.
        PATH=/usr/sbin:/usr/bin fakeroot systemd-repart --definitions=definitions --empty=create --size=auto --offline=yes --dry-run=no --no-pager \
          --seed=${toString cfg.seed} --sector-size=512 --architecture=x86-64 $out/${cfg.imageFile}
      '';
    };
  };
}
