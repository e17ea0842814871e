# Boots a virtual machine of FlowKit. Its console is this terminal; Ctrl-A X ends it at once, `poweroff` inside in order.
#
#   FLOWKIT_VM_STATE     directory with its disk, made if need be            (./flowkit-vm)
#   FLOWKIT_VM_SECRETS   directory with secrets to use, one a file; what is missing is made inside   (none)
#   FLOWKIT_VM_ACCEL     kvm or tcg                                          (kvm where it works)
#   FLOWKIT_VM_ADDRESS   address of this host whose ports lead inside        (127.0.0.1)
#   FLOWDB_HOST_PORT …   those ports, by the names that FlowKit's guide gives them
#   FLOWDB_ETL_DIR …     directories of this host that roles read, likewise
#
# What else is given goes to QEMU.

say() { printf 'flowkit-vm: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit "${status:-1}"
}

# Whether a guest really runs under KVM. The device alone says nothing: some machines have it, and a guest aborts or stands
# still, or gets through its firmware and no further than into its kernel. So the machine's own kernel is started, with
# nothing else: it finds no root, panics, reboots, and that ends QEMU well.
kvm_works() {
    [ -w /dev/kvm ] || return 1
    # Elsewhere nothing is known that has the device and does not work.
    [ "$ARCHITECTURE" = x86_64 ] || return 0
    timeout --signal=KILL 10 qemu-system-x86_64 -machine q35,accel=kvm -cpu max -m 512 -nodefaults -display none -no-reboot \
        -kernel "$KERNEL" -append "panic=-1" >/dev/null 2>&1
}

state=${FLOWKIT_VM_STATE:-./flowkit-vm}
mkdir -p "$state"
state=$(realpath "$state")
exec 9>"$state/lock"
flock --nonblock 9 || fail "the machine with the state in $state is running already; give another FLOWKIT_VM_STATE"
run=$state/run
rm -rf "$run"
mkdir -p "$run/none"

export FLOWKIT_VM_SECRETS=${FLOWKIT_VM_SECRETS:-$run/none}
[ -d "$FLOWKIT_VM_SECRETS" ] || status=2 fail "FLOWKIT_VM_SECRETS is $FLOWKIT_VM_SECRETS, which is no directory"
FLOWKIT_VM_SECRETS=$(realpath "$FLOWKIT_VM_SECRETS")

for name in $SHARES; do
    [ -n "${!name:-}" ] || continue
    [ -d "${!name}" ] || status=2 fail "$name is ${!name}, which is no directory"
    path=$(realpath "${!name}")
    export "$name=$path"
    say "$path is shown inside ($name)"
done

accelerator=${FLOWKIT_VM_ACCEL:-}
case $accelerator in
    kvm) kvm_works || fail "FLOWKIT_VM_ACCEL is kvm, but no guest runs under it here" ;;
    tcg) ;;
    "") if kvm_works; then accelerator=kvm; else accelerator=tcg; fi ;;
    *) status=2 fail "FLOWKIT_VM_ACCEL is $accelerator; it can be kvm or tcg" ;;
esac
case $accelerator in
    kvm) say "runs under KVM" ;;
    tcg) say "no guest runs under KVM here, or it was not wanted: the processor is emulated, which is several times slower" ;;
esac

address=${FLOWKIT_VM_ADDRESS:-127.0.0.1} forwards=
for port in $PORTS; do
    name=${port%:*} inside=${port#*:}
    outside=${!name:-$inside}
    forwards+="${forwards:+,}hostfwd=tcp:$address:$outside-:$inside"
    say "$address:$outside leads to port $inside inside ($name)"
done
say "state: $state   secrets from: $([ "$FLOWKIT_VM_SECRETS" = "$run/none" ] && echo "made inside" || echo "$FLOWKIT_VM_SECRETS")"

# Time passes slowly where the processor is emulated: systemd must not give up on devices and units.
if [ "$accelerator" = tcg ]; then
    QEMU_KERNEL_PARAMS="systemd.default_device_timeout_sec=600 systemd.default_timeout_start_sec=600 ${QEMU_KERNEL_PARAMS:-}"
fi
export QEMU_KERNEL_PARAMS=${QEMU_KERNEL_PARAMS:-}
export NIX_DISK_IMAGE=$state/disk.qcow2 TMPDIR=$run USE_TMPDIR=1
export QEMU_NET_OPTS=$forwards${QEMU_NET_OPTS:+,$QEMU_NET_OPTS}
exec "$BOOT" -machine "accel=$accelerator" "$@"
