#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A worker is killed while its writes hang at the backend, and only those hang, for they are throttled by the control group that it was in:
# the client comes back to the next worker, writes again what was not answered, and then newer content. What the dead worker left
# must not land over that (the page would be lost, for its check fails). On ext4, xfs, btrfs and a block device, for each engine (ENGINE: for that one).
# shellcheck disable=SC2154,SC2016 # srcdir and the like come from functions.sh; quoted commands are for the guest
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/storage.sh"
. "$srcdir/tests/vm/product.sh"
takeover=$builddir/tests/server/takeover
repeats=1
[ -z "${NBDSWAP_LONG:-}" ] || repeats=100

vm_net server client
vm_start server mem=320 disks="ext4:32 xfs:320 btrfs:128 block:16"
vm_wait server
sections=('[export block]' 'file = /dev/disk/by-id/virtio-block')
for type in ext4 xfs btrfs; do
    vm_mkfs server $type $type /srv/$type
    sections+=("[export $type]" "file = /srv/$type/swap" 'size = 2M')
done
# 20 pages take 10 s, and a worker is there again sooner.
vm_run server 60 '
    set -e
    mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
    echo +io >/sys/fs/cgroup/cgroup.subtree_control
    mkdir /sys/fs/cgroup/slow
    for disk in ext4 xfs btrfs block; do
        echo "$(cat /sys/class/block/$(basename $(readlink -f /dev/disk/by-id/virtio-$disk))/dev) wbps=8192" >/sys/fs/cgroup/slow/io.max
    done' >&2 || fail "no throttling"
vm_run server 60 "$nbdswapctl activate --file /dev/disk/by-id/virtio-block --size 2M --rewrite" >&2 || fail "no block device"
say "guest is up"

worker="$nbdswapctl status --socket /run/nbdswapd.sock --json | jq .worker.pid"
for ENGINE in ${ENGINE:-native nbdkit}; do
    export ENGINE
    swap_configure server "${sections[@]}"
    swap_serve server
    for export in ext4 xfs btrfs block; do
        out=$(vm_run server 120 "$takeover nbd://localhost/$export%3Fclient%3Dme%26slot%3D0%2F1 0 $repeats 300 \
            'echo \$($worker) >/sys/fs/cgroup/slow/cgroup.procs' 'kill -KILL \$($worker)' 12000") || fail "$ENGINE, $export: $out"
        must_match "$out" ' resent=[1-9][0-9]* stale=0$' "$ENGINE, $export"
        say "$ENGINE, $export: $out"
    done
    swap_status server --json | jq -c '.worker.restarts, [.exports[].pages.lost]'
    swap_serve_end
done
vm_dmesg_clean server
vm_stop server
