#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The main job with the server's file on a real NFS 4.2 mount, on NFSv3, on SMB3, on xfs and on btrfs: one server
# with an export on each, a client that uses them in turn.  NBDSWAP_LONG=1: with more memory.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/storage.sh"
. "$srcdir/tests/vm/product.sh"
backends="nfs42 nfs3 smb3 xfs btrfs"
# The kernel leaves a machine of 128 MiB 80 for programs.
mib=120
[ -z "${NBDSWAP_LONG:-}" ] || mib=192

vm_net storage server client
vm_start storage mem=384 disks="data:960"
vm_start server mem=320 disks="xfs:400 btrfs:320"
vm_start client mem=128
vm_wait storage server client
vm_jumbo storage server
vm_mkfs storage data ext4 /srv/data
vm_serve_nfs storage /srv/data
vm_serve_smb storage /srv/data
vm_mkfs server xfs xfs /mnt/xfs
vm_mkfs server btrfs btrfs /mnt/btrfs
vm_mount_nfs42 server storage /mnt/nfs42
vm_mount_nfs3 server storage /mnt/nfs3
vm_mount_smb3 server storage /mnt/smb3
say "guests are up and storage is mounted"

sections=()
for backend in $backends; do
    sections+=("[export $backend]" "file = /mnt/$backend/$backend.swap" 'size = 208M')
done
swap_configure server "${sections[@]}"
swap_serve server
swap_status server
say "the exports are ready"

for backend in $backends; do
    swap_attach client "nbd://$(vm_ip server)/$backend"
    swap_work client "$mib" 2 0 600
    swap_detach client
    say "$backend works"
done
swap_serve_end

for guest in client server storage; do
    vm_dmesg_clean $guest
    vm_stop $guest
done
