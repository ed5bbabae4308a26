# SPDX-License-Identifier: BSD-3-Clause
# Guests as storage servers and their clients; source it after vm.sh. All mounts are as a real one would be: NFS
# hard and synchronous, SMB with cache=none,hard.
# shellcheck shell=bash

# vm_mkfs NAME DISK TYPE DIR [OPTIONS]: makes a file system on the guest's disk and mounts it.
vm_mkfs() {
    local force=-f
    [ "$3" != ext4 ] || force=-F
    vm_run "$1" 120 "
        set -e
        modprobe $3
        mkfs.$3 -q $force /dev/disk/by-id/virtio-$2
        mkdir -p '$4'
        mount -t $3 ${5:+-o $5} /dev/disk/by-id/virtio-$2 '$4'" >"$vm_dir/mkfs.log" 2>&1 || fail "guest $1: no $3 on $2: $(cat "$vm_dir/mkfs.log")"
}

# rpcbind and statd: both sides of NFSv3 locking need them.
_vm_rpc='
    mkdir -p /run/rpcbind /var/lib/nfs/sm /var/lib/nfs/sm.bak
    mountpoint -q /run/rpc_pipefs || { mkdir -p /run/rpc_pipefs; modprobe sunrpc; mount -t rpc_pipefs sunrpc /run/rpc_pipefs; }
    [ -e /run/rpc.statd.pid ] || { rpcbind -w; rpc.statd --no-notify; }
'

_vm_nfsd='rpc.nfsd --lease-time 10 --grace-time 10 8'

# vm_nfsd NAME: starts it again after `rpc.nfsd 0`.
vm_nfsd() {
    vm_run "$1" 60 "$_vm_nfsd" >&2 || fail "guest $1: the NFS server does not start again"
}

# vm_serve_nfs NAME DIR: exports DIR by NFSv3 (as /srv/nfs) and 4.2 (as the root of its name space, because the
# guest's own root cannot be exported). Lease and grace are 10 s; no client can have anything to
# reclaim, so the grace period is ended at once.
vm_serve_nfs() {
    vm_run "$1" 120 "
        set -e
        $_vm_rpc
        mkdir -p /srv/nfs
        mount --bind '$2' /srv/nfs
        echo '/srv/nfs *(rw,sync,no_root_squash,no_subtree_check,fsid=0)' >/etc/exports
        modprobe lockd nlm_grace_period=1
        modprobe nfsd
        mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
        mkdir -p /var/lib/nfs/v4recovery /var/lib/nfs/nfsdcld /var/lib/nfs/nfsdcltrack
        exportfs -ra
        rpc.mountd
        $_vm_nfsd
        echo Y >/proc/fs/nfsd/v4_end_grace" >&2 || fail "guest $1: no NFS server"
}

# vm_serve_smb NAME DIR: shares DIR as \\NAME\swap for user root, password swap.
vm_serve_smb() {
    vm_put "$1" /etc/vm-smb.conf 600 <<CONF
[global]
    server role = standalone server
    server min protocol = SMB3
    smb ports = 445
    disable netbios = yes
    load printers = no
    printcap name = /dev/null
    disable spoolss = yes
    private dir = /run/samba
    lock directory = /run/samba
    state directory = /run/samba
    cache directory = /run/samba
    pid directory = /run/samba
    ncalrpc dir = /run/samba/ncalrpc
    log file = /run/samba/log
[swap]
    path = $2
    read only = no
    strict allocate = yes
CONF
    vm_run "$1" 120 "
        set -e
        mkdir -p /run/samba
        printf 'swap\nswap\n' | smbpasswd -c /etc/vm-smb.conf -L -a -s root >/dev/null
        smbd -D -s /etc/vm-smb.conf" >&2 || fail "guest $1: no SMB server"
}

# vm_mount_nfs42 NAME SERVER DIR; vm_mount_nfs3 and vm_mount_smb3 are the same.
vm_mount_nfs42() {
    vm_run "$1" 60 "mkdir -p '$3' && modprobe nfsv4 && mount -t nfs -o vers=4.2,hard $2:/ '$3'" >&2 ||
        fail "guest $1: NFS 4.2 does not mount"
}

vm_mount_nfs3() {
    vm_run "$1" 60 "set -e
        $_vm_rpc
        mkdir -p '$3'
        modprobe nfsv3
        mount -t nfs -o vers=3,hard $2:/srv/nfs '$3'" >&2 || fail "guest $1: NFSv3 does not mount"
}

vm_mount_smb3() {
    vm_run "$1" 60 "mkdir -p '$3' && modprobe cifs && mount -t cifs \
        -o user=root,password=swap,vers=3.1.1,cache=none,hard,file_mode=0600,dir_mode=0700 //$(vm_ip "$2")/swap '$3'" >&2 ||
        fail "guest $1: SMB3 does not mount"
}

# vm_ofd_lock NAME FILE [SECONDS]: takes a write lock of the open-description kind on the whole file and keeps it
# so long; fails when it is held elsewhere.
vm_ofd_lock() {
    vm_run "$1" "$((${3:-0} + 20))" "exec perl -e '
        open(my \$f, \"+<\", \$ARGV[0]) or die \"open: \$!\";
        my \$lock = pack(\"s s x4 q q i x4\", 1, 0, 0, 0, 0);
        fcntl(\$f, 37, \$lock) or die \"lock: \$!\n\";
        \$| = 1; print \"locked\n\"; sleep \$ARGV[1]' '$2' ${3:-0}"
}
