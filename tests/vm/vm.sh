# SPDX-License-Identifier: BSD-3-Clause
# Guests under QEMU without KVM, with Debian's kernel, for tests. Source it after tests/functions.sh. A guest sees the
# host's root read-only by 9p under an overlay of tmpfs, so it has every program of the host and the build tree.
#
#	vm_net server client            names and order of the guests: number i is 10.77.0.i, with a link to each other
#	vm_start server mem=384 disks="data:1024" [nbd="data:SOCKET"] [smp=1] [user=1] [append="..."]
#	vm_wait server                  until its agent answers
#	vm_run client 60 'swapon -s'    runs in the guest with a time limit; output and exit code are the command's
#	vm_put client /etc/x 600 <FILE  writes standard input to a file in the guest
#	vm_spawn pid server LOG 600 CMD runs in the background; kill $pid passes the signal on to it
#	vm_dmesg_clean client           fails on anything in the guest's dmesg that should not be there
#	vm_monitor client "stop"        a line for QEMU's monitor: stop and cont freeze and thaw
#	vm_link client server off|on    the cable between two guests; instead of a guest: user
#	vm_stop client; vm_kill server  orderly; a power cut
#
# Disks are MiB or somebody's NBD server, found in the guest as /dev/disk/by-id/virtio-NAME. Guest tests run one at a time in a build tree.
# shellcheck shell=bash
# shellcheck disable=SC2154 # srcdir, builddir and tmp come from functions.sh

vm_dir=$tmp/vm
vmctl=$builddir/tests/vm/vmctl
declare -A _vm_pid=() _vm_number=()
_vm_names=()

_vm_requirements() {
    command -v qemu-system-x86_64 >/dev/null || skip "qemu-system-x86_64 is not installed"
    command -v busybox >/dev/null || skip "busybox is not installed (Debian: busybox-static)"
    [ "$(id -u)" = 0 ] || skip "guests see the host's root through QEMU, which must be root for that"
    [ -x "$vmctl" ] || fail "$vmctl is not built (make check builds it)"
    mkdir -p "$vm_dir"
    exec 8>"$builddir/tests/vm/.lock"
    flock -w 3600 8 || fail "other guest tests have been running for an hour"
    local rc=0
    vm_kernel=$("$srcdir/tests/vm/kernel.sh" 2>"$vm_dir/kernel.err") || rc=$?
    [ "$rc" != 77 ] || skip "$(tail -n 1 "$vm_dir/kernel.err")"
    [ "$rc" = 0 ] || fail "$(cat "$vm_dir/kernel.err")"
    "$srcdir/tests/vm/mkinitramfs.sh" "$vm_kernel" "$builddir/tests/vm/agent" "$srcdir/tests/vm/init" \
        "$vm_dir/initramfs"
    cleanup_fn _vm_cleanup
}

# Runs at the end of every test; rc is the exit code that functions.sh has. On failure shows what the test's programs
# and the guests said last.
_vm_cleanup() {
    local name log
    for name in "${!_vm_pid[@]}"; do
        vm_kill "$name"
    done
    case ${rc:-0} in
    0 | 77) return ;;
    esac
    for log in "$tmp"/*.log "$vm_dir"/*/qemu.log "$vm_dir"/*/console; do
        [ -s "$log" ] || continue
        echo "--- ${log#"$tmp"/} (last 60 lines)"
        tail -n 60 "$log"
    done >&2
}

# say TEXT: a line of progress with the time since the test began.
say() {
    echo "$SECONDS s: $*"
}

vm_net() {
    local name
    _vm_names=("$@")
    for name in "$@"; do
        _vm_number[$name]=$((${#_vm_number[@]} + 1))
    done
}

vm_ip() {
    echo "10.77.0.${_vm_number[$1]}"
}

# vm_jumbo A B: large packets on the link between two running guests; without KVM the number of packets is what counts.
vm_jumbo() {
    local from to
    for from in "$1" "$2"; do
        to=$1$2
        to=${to/$from/}
        vm_run "$from" 120 "ip link set mtu 9000 dev \$(ip -o -4 addr | awk '/peer $(vm_ip "$to")\// { print \$2 }')" ||
            fail "guest $from: no large packets to $to"
    done
}

vm_start() {
    local name=$1 mem=256 smp=1 disks='' nbd='' user=0 append='' word peer n self
    shift
    for word in "$@"; do
        case $word in
        mem=* | smp=* | disks=* | nbd=* | user=* | append=*) local "${word%%=*}=${word#*=}" ;;
        *) fail "vm_start: $word?" ;;
        esac
    done
    [ -z "${_vm_pid[$name]:-}" ] || fail "guest $name is already running"
    [ -n "${_vm_number[$name]:-}" ] || vm_net "$name"
    self=${_vm_number[$name]}
    local dir=$vm_dir/$name
    mkdir -p "$dir"
    rm -f "$dir"/ctl* "$dir/monitor"

    local args=(
        -nodefaults -no-user-config -display none -no-reboot
        -machine q35,accel=tcg -cpu max,la57=off,erms=off -smp "$smp" -m "$mem"
        -kernel "$vm_kernel/vmlinux" -initrd "$vm_dir/initramfs"
        -serial "file:$dir/console" -monitor "unix:$dir/monitor,server=on,wait=off"
        -device virtio-rng-pci
        -virtfs "local,id=hostroot,path=/,mount_tag=hostroot,security_model=none,readonly=on,multidevs=remap"
        -device virtio-serial-pci,max_ports=16
    )
    for ((n = 0; n < 6; n++)); do
        args+=(-chardev "socket,id=ctl$n,path=$dir/ctl$n,server=on,wait=off"
            -device "virtserialport,chardev=ctl$n,name=ctl$n")
    done
    for word in $disks; do
        [ -f "$dir/${word%%:*}.disk" ] || truncate -s "${word##*:}M" "$dir/${word%%:*}.disk"
        args+=(-drive "file=$dir/${word%%:*}.disk,id=${word%%:*},if=none,format=raw,cache=unsafe,discard=unmap"
            -device "virtio-blk-pci,drive=${word%%:*},serial=${word%%:*}")
    done
    for word in $nbd; do
        args+=(-drive "file=nbd:unix:${word#*:},id=${word%%:*},if=none,format=raw,cache=none"
            -device "virtio-blk-pci,drive=${word%%:*},serial=${word%%:*}")
    done
    for peer in "${_vm_names[@]}"; do
        [ "$peer" != "$name" ] || continue
        n=${_vm_number[$peer]}
        mkdir -p "$vm_dir/$peer"
        rm -f "$dir/to-$peer"
        args+=(-netdev "dgram,id=net$n,local.type=unix,local.path=$dir/to-$peer,remote.type=unix,remote.path=$vm_dir/$peer/to-$name"
            -device "virtio-net-pci,netdev=net$n,mac=$(printf '52:54:77:00:%02x:%02x' "$self" "$n")")
    done
    [ "$user" = 0 ] || args+=(-netdev user,id=user -device "virtio-net-pci,netdev=user,mac=52:54:77:ff:00:01")
    args+=(-append "console=ttyS0 loglevel=5 panic=-1 mitigations=off tsc=reliable no_timer_check init_on_alloc=0 random.trust_cpu=on \
vm.name=$name vm.net=$(IFS=,; echo "${_vm_names[*]}") vm.modules=$vm_kernel $append")

    # erms and init_on_alloc: clearing a page byte by byte is slow on an emulated processor, and was seen to take a minute (soft
    # lockups in clear_page_erms) when the page had held code.
    qemu-system-x86_64 "${args[@]}" >"$dir/qemu.log" 2>&1 8>&- &
    _vm_pid[$name]=$!
    wait_until 30 test -S "$dir/ctl5"
}

vm_alive() {
    [ -n "${_vm_pid[$1]:-}" ] && kill -0 "${_vm_pid[$1]}" 2>/dev/null
}

# vm_run NAME SECONDS COMMAND
vm_run() {
    local rc=0
    "$vmctl" "$vm_dir/$1" "$2" run "$3" || rc=$?
    case $rc in
    124)
        echo "guest $1: not done in $2 s: $3" >&2
        _vm_show "$1" >&2
        ;;
    125) echo "guest $1 cannot be reached" >&2 ;;
    esac
    return $rc
}

# _vm_show NAME: what a guest is at in which something took too long, before the agent kills it.
_vm_show() {
    echo "--- guest $1, asked on another port:"
    # shellcheck disable=SC2016 # for the guest
    VMCTL_PORT=1 "$vmctl" "$vm_dir/$1" 30 run 'cat /proc/uptime /proc/loadavg; head -n 5 /proc/meminfo
        ps -e -o pid,ppid,stat,wchan:24,args | awk "\$3 !~ /I/"
        for p in $(ps -e -o pid=,stat=,args= | awk "\$2 ~ /D/ || \$3 ~ /nfsd|lockd|rpc/ { print \$1 }"); do
            echo "$p: $(tr "\n" " " </proc/$p/stack)"
        done
        dmesg | tail -n 15'
}

vm_wait() {
    local name
    for name in "$@"; do
        vm_run "$name" 90 true || fail "guest $name did not boot: $(cat "$vm_dir/$name/qemu.log")"
    done
}

# vm_put NAME PATH MODE: standard input becomes the file.
vm_put() {
    local file
    file=$(mktemp "$vm_dir/put.XXXXXX")
    cat >"$file"
    VMCTL_STDIN=$file vm_run "$1" 120 "umask 077; cat >'$2' && chmod $3 '$2'" || fail "guest $1: cannot write $2"
    rm -f "$file"
}

# vm_spawn VAR NAME LOG SECONDS COMMAND: VAR becomes the process to signal and wait for; its output goes to LOG.
vm_spawn() {
    "$vmctl" "$vm_dir/$2" "$4" run "exec $5" >"$3" 2>&1 8>&- &
    printf -v "$1" %s "$!"
    cleanup_fn end_process "$!"
}

vm_monitor() {
    "$vmctl" "$vm_dir/$1" 60 monitor "$2" >&2 || fail "guest $1: monitor: $2"
}

vm_link() {
    local card=user
    [ "$2" = user ] || card=net${_vm_number[$2]}
    vm_monitor "$1" "set_link $card $3"
}

vm_stop() {
    vm_alive "$1" || return 0
    "$vmctl" "$vm_dir/$1" 60 poweroff || echo "guest $1 did not switch off, it is killed" >&2
    vm_kill "$1"
}

vm_kill() {
    [ -n "${_vm_pid[$1]:-}" ] || return 0
    kill -KILL "${_vm_pid[$1]}" 2>/dev/null || true
    wait "${_vm_pid[$1]}" 2>/dev/null || true
    unset "_vm_pid[$1]"
}

# What no test may leave behind. A test that provokes one of these looks at dmesg itself.
_vm_dmesg_bad='I/O error|Buffer I/O|Oops|BUG:|Kernel panic|WARNING: CPU|blocked for more than|soft lockup|rcu.*stall'
_vm_dmesg_bad+='|Read-error on swap|Write-error on swap|nbd[0-9]+: .*(Dead|timed out|Receive|Send|Wrong magic|Double reply|Unexpected)'
_vm_dmesg_bad+='|Out of memory|segfault|general protection'

# vm_dmesg_clean NAME [REGEX]: but for lines that the test provoked.
vm_dmesg_clean() {
    local text
    text=$(vm_run "$1" 60 dmesg) || fail "guest $1: no dmesg"
    [ -z "${2:-}" ] || text=$(grep -vE "$2" <<<"$text")
    if grep -E "$_vm_dmesg_bad" <<<"$text" >&2; then
        fail "guest $1: the lines above are in its dmesg"
    fi
}

_vm_requirements
