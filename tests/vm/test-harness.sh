#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The guest harness itself, without our own server: two guests, file systems and mounts of every kind, locks that
# hold across them, and verified swap over nbdkit's memory plugin.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/storage.sh"
swapload=$builddir/tests/vm/swapload

vm_net storage client
vm_start storage mem=384 disks="ext4:128 xfs:320 btrfs:128"
vm_start client mem=128
vm_wait storage client
say "both guests are up"

rc=0
out=$(vm_run client 10 'echo out; echo err >&2; exit 7' 2>&1) || rc=$?
[ "$rc $(sort <<<"$out" | tr '\n' ' ')" = "7 err out " ] || fail "output or exit code is lost: $rc $out"
rc=0
vm_run client 1 'sleep 60' 2>/dev/null || rc=$?
[ "$rc" = 124 ] || fail "a time limit gave exit code $rc"
wait_until 60 vm_run client 10 '! pgrep -x sleep'

vm_mkfs storage xfs xfs /srv/xfs
vm_mkfs storage btrfs btrfs /srv/btrfs
vm_mkfs storage ext4 ext4 /srv/ext4
say "file systems are made"
vm_serve_nfs storage /srv/ext4
vm_serve_smb storage /srv/ext4
say "servers are up"
vm_mount_nfs42 client storage /mnt/nfs42
vm_mount_nfs3 client storage /mnt/nfs3
vm_mount_smb3 client storage /mnt/smb3
say "mounts are there"
vm_run client 60 'cat /proc/mounts' >"$tmp/mounts"
must_match "$(cat "$tmp/mounts")" ' /mnt/nfs42 nfs4 .*vers=4.2,.*hard'
must_match "$(cat "$tmp/mounts")" ' /mnt/nfs3 nfs .*vers=3,.*hard'
must_match "$(cat "$tmp/mounts")" ' /mnt/smb3 cifs .*vers=3.1.1,.*cache=none'

# A cifs client keeps its locks to itself until another SMB client opens the file, so that is what is asked here.
vm_mount_smb3 storage storage /mnt/smb3
declare -A locked_at=([nfs42]=/srv/ext4 [nfs3]=/srv/ext4 [smb3]=/mnt/smb3)
for mount in nfs42 nfs3 smb3; do
    vm_run client 60 "dd if=/dev/urandom of=/mnt/$mount/$mount bs=64k count=16 oflag=direct status=none" ||
        fail "no direct write to $mount"
    there=$(vm_run client 60 "dd if=/mnt/$mount/$mount bs=64k iflag=direct status=none | sha256sum")
    here=$(vm_run storage 60 "sha256sum </srv/ext4/$mount")
    [ "$there" = "$here" ] || fail "$mount: not what the server has"

    vm_ofd_lock client "/mnt/$mount/$mount" 30 >"$tmp/lock" 2>&1 &
    holder=$!
    wait_until 40 grep -q locked "$tmp/lock"
    ! vm_ofd_lock storage "${locked_at[$mount]}/$mount" 2>/dev/null || fail "$mount: two held the same lock"
    kill -TERM "$holder" 2>/dev/null || true
    wait "$holder" || true
    say "$mount works"
done

vm_spawn nbdkit storage "$tmp/nbdkit.log" 300 "nbdkit -f -p 10809 memory size=384M"
vm_run client 60 'modprobe nbd nbds_max=2'
wait_until 30 vm_run client 20 "nbd-client $(vm_ip storage) 10809 /dev/nbd0 -b 4096 -timeout 0"
vm_run client 60 'mkswap /dev/nbd0 >/dev/null && swapon /dev/nbd0'
say "swap is on"
vm_run client 180 "$swapload --size 144 --processes 2 --rounds 0" >"$tmp/swapload" || fail "$(tail -n 5 "$tmp/swapload")"
tail -n 1 "$tmp/swapload"
must_match "$(cat "$tmp/swapload")" '^swapload: OK, .* pswpout=[1-9][0-9]{3,} pswpin=[1-9][0-9]{3,} '
say "swap is verified"
vm_run client 60 'swapoff /dev/nbd0 && nbd-client -d /dev/nbd0'
# shellcheck disable=SC2154 # set by vm_spawn
kill "$nbdkit"
wait "$nbdkit" || true

vm_dmesg_clean client
vm_dmesg_clean storage
# (Who held a lock above holds it for its 30 s.)
wait_until 60 vm_run client 60 'for m in nfs42 nfs3 smb3; do ! mountpoint -q /mnt/$m || umount /mnt/$m || exit 1; done'
wait_until 60 vm_run storage 60 '! mountpoint -q /mnt/smb3 || umount /mnt/smb3'
vm_stop client
vm_stop storage
say "done"
