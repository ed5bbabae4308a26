#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What a killed worker left at the backend lands long after its death, and the store's barrier waits for it: reads and writes, by system
# call and by io_uring, on each backend, made late by dm-delay, by a frozen file system on the storage server, and (in
# check-long) by an SMB server that is killed, so that the client sends the write again. Without the barrier it is seen to land later.
# In check-long each of them also by the other way, and without the barrier.
# shellcheck disable=SC2154,SC2016 # srcdir and the like come from functions.sh; quoted commands are for the guest
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/storage.sh"
. "$srcdir/tests/vm/dm.sh"
orphan=$builddir/tests/vm/orphan

vm_net server client
vm_start server mem=512 disks="data:400"
vm_wait server
dm_create server data slow
disk=$(vm_run server 120 'dmsetup deps -o devname slow | sed "s|.*(\(.*\)).*|/dev/\1|"')
say "guest is up"

# delay READ-MS WRITE-MS: of the whole disk from now on.
delay() {
    vm_run server 60 "
        export DM_DISABLE_UDEV=1
        dmsetup load slow --table \"0 \$(blockdev --getsz $disk) delay $disk 0 $1 $disk 0 $2\"
        dmsetup resume --nolockfs --noflush slow" >&2 || fail "the disk cannot be delayed"
}

# try REAL ARGS: makes an orphan and judges it: with the barrier it has arrived after it. REAL=1: it is an orphan, which has not arrived when the
# child is reaped. A request that the kernel cancels, because it was handed to a thread that had not begun with it, is none, nor is one
# that was reaped too late on a busy machine: again.
try() {
    local line n
    for ((n = 0; n < 5; n++)); do
        [ -z "${before_try:-}" ] || $before_try
        line=$(vm_run server 300 "$orphan $2; wait; true")
        echo "$line"
        [[ $line == *' after=0 late=0 '* ]] || [[ $1 = 1 && $line == *' before=1 '* ]] || break
    done
    case $line in
    *' none: '*) must_match "$line" ' before=0 .* after=0 late=1 ' "without the barrier" ;;
    *) must_match "$line" " before=$(($1 ? 0 : 1)) .* error=0 after=1 " "with the barrier" ;;
    esac
}

# flushed READ-MS WRITE-MS: the same, when what a file system still wants to write is written, which a write may have to wait for.
flushed() {
    delay 0 0
    vm_run server 60 sync >&2
    delay "$1" "$2"
}

# make_file FILE: whose pages are read from the disk, not from the server's memory.
make_file() {
    vm_run server 60 "
        set -e
        rm -f $1
        touch $1
        chattr +C $1 2>/dev/null || true
        head -c 4M /dev/urandom >$1
        sync
        echo 3 >/proc/sys/vm/drop_caches" >&2 || fail "no file $1"
}

# forget FILE: what the guest has of it in memory, but for the beginning.
forget() {
    vm_run server 120 "echo 3 >/proc/sys/vm/drop_caches; head -c 1 $1 >/dev/null" >&2
}

# local_orphans FILE LOOK [COPY]: a process that is in a system call of a local file system is not reaped before its end.
local_orphans() {
    local how hows=('uring write none' 'uring write barrier')
    [ -z "${NBDSWAP_LONG:-}" ] || hows+=('pwrite write barrier')
    before_try='flushed 0 2000'
    for how in "${hows[@]}"; do
        try "$([[ $how != pwrite* ]] && echo 1 || echo 0)" "$1 ${how% *} $2 ${how##* }"
    done
    before_try=
    delay 0 0
    vm_run server 60 "dd if=$1 of=/run/copy bs=1M count=4 iflag=direct status=none"
    forget "$1"
    delay 2000 0
    for how in "${hows[@]/write/read}"; do
        try "$([[ $how != pwrite* ]] && echo 1 || echo 0)" "$1 ${how% *} /run/copy ${how##* }"
    done
    delay 0 0
}

for type in ext4 xfs btrfs; do
    vm_mkfs server slow $type /srv/$type
    make_file /srv/$type/f
    look=/srv/$type/f
    # A read of btrfs waits for a write to the same pages, which hides what is asked here.
    [ $type != btrfs ] || look=$disk
    local_orphans /srv/$type/f "$look"
    vm_run server 60 "umount /srv/$type" >&2
    say "$type"
done
local_orphans /dev/mapper/slow /dev/mapper/slow
say "a block device"

vm_mkfs server slow ext4 /srv/data
vm_serve_nfs server /srv/data
vm_serve_smb server /srv/data
vm_mount_nfs42 server localhost /mnt/nfs
vm_mount_nfs3 server localhost /mnt/nfs3
vm_mount_smb3 server server /mnt/smb

# A command after which the server's file system takes no writes for 3 s.
freeze='fsfreeze -f /srv/data; (sleep 3; fsfreeze -u /srv/data) >/dev/null 2>&1 &'
# Each has a file of its own: a file lease that the one server gave away keeps the other from opening it.
for mount in nfs nfs3 smb; do
    file=/srv/data/$mount
    make_file "$file"
    hows=('pwrite barrier')
    [ $mount = nfs3 ] || hows+=('uring none')
    [ -z "${NBDSWAP_LONG:-}" ] || hows=('uring barrier' 'pwrite barrier' 'uring none' 'pwrite none')
    vm_run server 120 "head -c 1 /mnt/$mount/$mount >/dev/null" # so that the inode is known
    for how in "${hows[@]}"; do
        try 1 "/mnt/$mount/$mount ${how% *} write $file ${how##* } '$freeze'"
    done
    vm_run server 60 "cp $file /run/copy; sync"
    for how in "${hows[@]}"; do
        forget "$file"
        delay 2000 0
        try 1 "/mnt/$mount/$mount ${how% *} read /run/copy ${how##* }"
        delay 0 0
    done
    say "$mount"
done

# The server is stopped with the write in its socket and killed after the worker: the client sends it again when it has found the next one, which
# takes up to a minute. (A write whose system call was killed is not sent again.)
restart='kill -STOP $(pgrep -x smbd); (sleep 2; kill -KILL $(pgrep -x smbd); sleep 1; smbd -D -s /etc/vm-smb.conf) >/dev/null 2>&1 &'
if [ -n "${NBDSWAP_LONG:-}" ]; then
    try 1 "/mnt/smb/smb uring write /srv/data/smb barrier '$restart'"
    say "an SMB server that was killed"
fi
vm_dmesg_clean server 'fsfreeze|CIFS: VFS: .*(has not responded|Send error|Trying to|cifs_reconnect)'
vm_stop server
