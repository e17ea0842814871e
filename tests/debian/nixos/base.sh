#!/bin/bash
# Installs the Debian of base.nix: `base.sh DIR` makes DIR. As root, in the root of scripts/nix.sh, which calls it when this
# file has changed. mmdebstrap takes what the machine's mirror has today.
set -euo pipefail
out=$1
initramfs=$(dirname "$(realpath "$0")")/initramfs

include=systemd-sysv,linux-image-cloud-amd64,dbus,udev,initramfs-tools,zstd,nftables,iproute2,e2fsprogs,systemd-repart,systemd-boot-efi
exclude=(
    '/usr/share/doc/*'
    '/usr/share/man/*'
    '/usr/share/locale/*'
    '/usr/share/info/*'
    # What an emulated processor has and nobody needs: loading it takes seconds there.
    '/usr/lib/modules/*/kernel/arch/x86/crypto/*'
    '/usr/lib/modules/*/kernel/arch/x86/kvm/*'
    '/usr/lib/modules/*/kernel/arch/x86/events/*'
    '/usr/lib/modules/*/kernel/drivers/input/*'
    '/usr/lib/modules/*/kernel/drivers/hid/*'
    '/usr/lib/modules/*/kernel/drivers/platform/*'
    '/usr/lib/modules/*/kernel/drivers/watchdog/*'
)
options=()
for path in "${exclude[@]}"; do options+=(--dpkgopt="path-exclude=$path"); done

mirror=$(sed -n 's/^deb \(\[.*\] \)\?\(http[^ ]*\) .*/\2/p' /etc/apt/sources.list | head -n1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The initial file system gets what is listed, not every driver.
settings='
  mkdir -p "$1/etc/initramfs-tools/hooks" "$1/etc/initramfs-tools/scripts" "$1/etc/initramfs-tools/conf.d"
  install -m755 '$initramfs'/hook "$1/etc/initramfs-tools/hooks/layers"
  install -m644 '$initramfs'/layers "$1/etc/initramfs-tools/scripts/debian-layers"
  echo MODULES=list >"$1/etc/initramfs-tools/conf.d/modules"'
mmdebstrap --quiet --mode=root --variant=minbase "${options[@]}" --setup-hook="$settings" --include="$include" \
    trixie "$work/root" "$mirror"

cd "$work/root"
mkdir -p "$work/out/etc" nix/store
cp etc/passwd etc/group etc/shadow "$work/out/etc/"
chmod a+r "$work/out/etc/shadow"
cp -L vmlinuz "$work/out/vmlinuz"
cp -L initrd.img "$work/out/initrd"
cp usr/lib/systemd/boot/efi/linuxx64.efi.stub "$work/out/"
rm -rf boot/* initrd.img* vmlinuz* var/lib/apt/lists/* var/cache/* var/log/* etc/hostname etc/resolv.conf
# What units find without asking, as on NixOS.
mkdir usr/lib/unit-path
for package in coreutils findutils grep sed systemd systemd-repart udev; do
    for program in $(grep -hE '^(/usr)?/s?bin/.' "var/lib/dpkg/info/$package.list" "var/lib/dpkg/info/$package:amd64.list" 2>/dev/null); do
        ln -sfn "$program" usr/lib/unit-path
    done
done
# Made at boot, or by whoever needs them.
rm -f etc/machine-id var/lib/dbus/machine-id
# Not news since: nothing of /usr needs a follow-up at the first boot (ldconfig, catalogue of messages, users).
touch etc/.updated var/.updated
# What looks after a Debian that is updated in place.
rm -f etc/systemd/system/timers.target.wants/* usr/lib/systemd/system/sysinit.target.wants/systemd-firstboot.service
rm -f etc/systemd/system/multi-user.target.wants/e2scrub_reap.service
mkfs.erofs --quiet -L debian -T 1 --all-time -U 5f0bd8f1-6f6b-4a6e-9d0e-3a1f5f3f2c11 "$work/out/debian.img" . >/dev/null
chmod -R a+rX "$work/out"
mv "$work/out" "$out"
