#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# nbd-client and the kernel in a guest, on the engine and on nbdkit: list, the ways to attach (netlink, ioctl, EXPORT_NAME, two connections),
# a file system made, filled, trimmed and checked, and swap.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires jq --version
requires_backing
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/product.sh"

vm_start client mem=160 user=1
vm_wait client
# guest COMMAND...: each must succeed.
guest() {
    vm_run client 180 "set -e; $1" >"$tmp/guest" 2>&1 || fail "$1"$'\n'"$(cat "$tmp/guest")"
}
guest 'modprobe nbd max_part=0; sysctl -qw vm.min_free_kbytes=16384; dmesg -C'
say "the guest is up"

# as OPTION...: attaches the export as /dev/nbd0.
as() {
    local name=$1
    shift
    guest "nbd-client -N $name $* 10.0.2.2 $port /dev/nbd0"
    guest "[ \$(blockdev --getsize64 /dev/nbd0) = $size ]"
}
detach() {
    guest 'nbd-client -d /dev/nbd0; sync'
    wait_until 30 not_attached
}
not_attached() { [ "$(field "[.exports[].sessions]|add")" = 0 ]; }

cases() {
    guest "nbd-client -l 10.0.2.2 $port"
    for e in files swap; do must_match "$(cat "$tmp/guest")" "^$e( |\$)"; done
    guest "! nbd-client -N no-such-export 10.0.2.2 $port /dev/nbd0"

    # Without -block-size nbd-client takes 512 for it, whatever the server says, and the kernel asks for less than a page.
    size=$((96 << 20))
    as files -block-size 4096
    guest 'mkfs.ext4 -q -b 4096 /dev/nbd0; mkdir -p /mnt/f; mount /dev/nbd0 /mnt/f
        for i in 1 2 3 4; do mkdir /mnt/f/$i; head -c 6M /dev/urandom >/mnt/f/$i/data; cp /etc/passwd /mnt/f/$i/small; done
        cd /mnt/f; sha256sum */* >/run/sums; cd /; umount /mnt/f'
    detach
    local how
    for how in -nonetlink -g '-C 2' '-nonetlink -C 2'; do
        as files "$how -block-size 4096"
        guest 'fsck.ext4 -fn /dev/nbd0; mount -o discard /dev/nbd0 /mnt/f; cd /mnt/f; sha256sum --quiet -c /run/sums
            cp -r 1 again; sync; echo 3 >/proc/sys/vm/drop_caches; cmp 1/data again/data; rm -r again; fstrim .; cd /; umount /mnt/f
            fsck.ext4 -fn /dev/nbd0'
        detach
        say "$1: a file system over nbd-client $how"
    done

    if [ "$1" = nbdkit ] && [ "$both" = yes ]; then return; fi # tests/vm has it swap

    size=$((256 << 20))
    as swap -swap -block-size 4096
    guest 'mkswap /dev/nbd0; swapon --discard=once /dev/nbd0'
    swap_work client 192 2 0 600
    guest 'swapoff /dev/nbd0'
    detach
    say "$1: swap"
}

both=$([ -n "${ENGINE:-}" ] || echo yes)
for ENGINE in ${ENGINE:-native nbdkit}; do
    export ENGINE
    requires_engine
    make_conf '[export files]' 'size = 96M' '[export swap]' 'size = 256M'
    sed -i 's/^listen = .*/listen = 127.0.0.1:0/' "$conf"
    start_server
    wait_until 120 export_is files ready
    wait_until 120 export_is swap ready
    port=$(field '.listen[0]')
    port=${port##*:}
    cases "$ENGINE"
    [ "$(field '[.exports[].counters.errors]|add')" = 0 ] || fail "a request was answered with an error: $(ctl status)"
    [ "$(field .worker.restarts)" = 0 ] || fail "the worker was started again"
    ctl stop
    wait_server || fail "stop: exit status $?"
    rm -f "$tmp"/*.swap
done
vm_dmesg_clean client
vm_stop client
