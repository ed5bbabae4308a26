#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What cannot be made safe to swap on is refused, each with the reason and the remedy: by the report (which touches
# nothing) and by activation.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/storage.sh"
. "$srcdir/tests/vm/product.sh"

vm_net storage one two
vm_start storage mem=384 disks="ext4:64 xfs:320 btrfs:160"
vm_start one mem=256
vm_start two mem=256
vm_wait storage one two
vm_mkfs storage ext4 ext4 /srv/ext4
vm_mkfs storage xfs xfs /srv/xfs
vm_mkfs storage btrfs btrfs /srv/btrfs
vm_serve_nfs storage /srv/ext4
vm_mount_nfs42 one storage /mnt/nfs
vm_mount_nfs42 two storage /mnt/nfs
say "guests are up"

# make GUEST FILE: a file that is fit, and says so.
make() {
    vm_run "$1" 60 "$nbdswapctl activate --file $2 --size 8M" >"$tmp/out" 2>&1 || fail "$2: $(cat "$tmp/out")"
    vm_run "$1" 120 "$nbdswapctl check $2" >"$tmp/out" 2>&1 || fail "$2 was just made: $(cat "$tmp/out")"
}

# activate GUEST FILE [PARAMETER]: by the worker alone, and lets go of it again.
activate() {
    vm_run "$1" 60 "nbdkit -U - $plugin file=$2 ${3:-} --run true" 2>&1
}

# refused GUEST FILE REASON: by both, and the file is as it was.
refused() {
    local rc=0 before after
    before=$(vm_run "$1" 120 "stat -c '%s %b %Y %Z' $2; sha256sum <$2")
    vm_run "$1" 120 "$nbdswapctl check $2" >"$tmp/out" 2>&1 || rc=$?
    [ "$rc" = 4 ] || fail "nbdswapctl check $2: exit code $rc, not 4: $(cat "$tmp/out")"
    must_match "$(cat "$tmp/out")" "$3" "nbdswapctl check $2"
    after=$(vm_run "$1" 120 "stat -c '%s %b %Y %Z' $2; sha256sum <$2")
    [ "$before" = "$after" ] || fail "$2 was changed by looking at it"
    rc=0
    activate "$1" "$2" >"$tmp/out" || rc=$?
    [ "$rc" = 1 ] || fail "activation of $2: exit code $rc: $(cat "$tmp/out")"
    must_match "$(cat "$tmp/out")" "$3" "activation of $2"
    after=$(vm_run "$1" 120 "stat -c '%s %b %Y %Z' $2; sha256sum <$2")
    [ "$before" = "$after" ] || fail "$2 was changed by a refused activation"
    say "refused: $3"
}

# ext4 and xfs tell the same.
for dir in /srv/ext4 /srv/xfs; do
    make storage $dir/holes
    vm_run storage 120 "fallocate --punch-hole --offset 1M --length 64K $dir/holes"
    refused storage $dir/holes 'has 1 hole, first at 1 MiB; run .nbdswapctl activate'
    make storage $dir/unwritten
    vm_run storage 120 "fallocate --zero-range --offset 1M --length 64K $dir/unwritten && sync $dir/unwritten"
    refused storage $dir/unwritten 'hole|allocated but never written'
    vm_run storage 120 "rm $dir/holes $dir/unwritten"
done

make storage /srv/xfs/original
vm_run storage 120 "cp --reflink=always /srv/xfs/original /srv/xfs/reflink && chmod 600 /srv/xfs/reflink && sync"
refused storage /srv/xfs/reflink 'shared with another file or a snapshot|its trailer was made for another file'
refused storage /srv/xfs/original 'shared with another file or a snapshot.*reflinks'

make storage /srv/btrfs/good
vm_run storage 120 'cd /srv/btrfs && umask 077 && dd if=/dev/urandom of=cow bs=1M count=8 status=none && sync cow'
refused storage /srv/btrfs/cow 'is copy-on-write, so every write would allocate; remove it'
vm_run storage 120 'cd /srv/btrfs && umask 077 && touch compressed && chattr +c compressed &&
    yes | head -c 8M >compressed && sync compressed'
refused storage /srv/btrfs/compressed 'is compressed .*chattr'
vm_run storage 120 'cd /srv/btrfs && btrfs -q subvolume snapshot . snapshot && sync -f .'
refused storage /srv/btrfs/good 'shared with another file or a snapshot'

rc=0
vm_run storage 60 "$nbdswapctl activate --file /srv/ext4/big --size 500M" >"$tmp/out" 2>&1 || rc=$?
[ "$rc" != 0 ] || fail "500 MiB fitted into 64"
must_match "$(cat "$tmp/out")" 'needs 50[0-9.]+ MiB, .* are free on /srv/ext4; free space there or give a smaller size'
rc=0
activate storage /srv/ext4/big size=500M >"$tmp/out" || rc=$?
[ "$rc" = 1 ] || fail "500 MiB fitted into 64: exit code $rc: $(cat "$tmp/out")"
must_match "$(cat "$tmp/out")" 'needs 50[0-9.]+ MiB, .* are free on /srv/ext4; free space there or give a smaller size'
[ "$(vm_run storage 120 'df --output=pcent /srv/ext4 | tr -dc 0-9')" -lt 60 ] || fail "a refused allocation left space taken"
say "refused: a full file system"

make one /mnt/nfs/ws1
vm_spawn worker one "$tmp/worker.log" 120 "nbdkit -f -U /run/worker.sock $plugin file=/mnt/nfs/ws1"
wait_until 30 vm_run one 120 'test -S /run/worker.sock'
rc=0
activate two /mnt/nfs/ws1 >"$tmp/out" || rc=$?
[ "$rc" = 1 ] || fail "two machines activated one file: exit code $rc: $(cat "$tmp/out")"
must_match "$(cat "$tmp/out")" '/mnt/nfs/ws1: is already activated by process [0-9]+ on one since .*; stop it there first'
# shellcheck disable=SC2154 # set by vm_spawn
kill -TERM "$worker"
wait "$worker" || true
activate two /mnt/nfs/ws1 >"$tmp/out" || fail "not free after the first machine let go: $(cat "$tmp/out")"
say "refused: activated by another machine over NFS"

vm_run two 120 'umount /mnt/nfs && mount -t nfs -o vers=4.2,soft storage:/ /mnt/nfs'
refused two /mnt/nfs/ws1 'mount /mnt/nfs is soft: .*`hard`'
vm_run two 120 'dd if=/dev/zero of=/root/ws1 bs=1M count=8 status=none'
refused two /root/ws1 'is on overlay .*not know to be safe'

for guest in storage one two; do
    vm_dmesg_clean $guest
    vm_stop $guest
done
