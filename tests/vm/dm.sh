# SPDX-License-Identifier: BSD-3-Clause
# Disks that fail on demand, by the kernel's device mapper; source it after vm.sh.
# shellcheck shell=bash

command -v dmsetup >/dev/null || skip "dmsetup is not installed"

# dm_create NAME DISK DM: the guest's disk as the device DM, which vm_mkfs takes as a disk.
dm_create() {
    vm_run "$1" 60 "
        set -e
        modprobe -a dm-mod dm-flakey dm-delay
        disk=\$(readlink -f /dev/disk/by-id/virtio-$2)
        DM_DISABLE_UDEV=1 dmsetup create $3 --table \"0 \$(blockdev --getsz \$disk) linear \$disk 0\"
        ln -s /dev/mapper/$3 /dev/disk/by-id/virtio-$3" >&2 || fail "guest $1: no device mapper on $2"
}

# dm_fault NAME DM FILE TARGET: from now on the blocks of FILE, which lies on a file system on DM, are on this target, in
# which @ stands for the device and the offset. The rest stays good: a journal that cannot be written would
# make the file system read-only. dm_fault NAME DM FILE 'linear @' mends it.
dm_fault() {
    vm_run "$1" 60 "
        set -e
        backing=\$(dmsetup deps -o devname $2 | sed 's/.*(\(.*\)).*/\1/')
        end=\$(blockdev --getsz /dev/mapper/$2)
        filefrag -e -b512 '$3' | sed -n 's/^ *[0-9]*: *[0-9]*\.\. *[0-9]*: *\([0-9]*\)\.\. *[0-9]*: *\([0-9]*\):.*/\1 \2/p' | sort -n |
            awk -v end=\$end -v dev=/dev/\$backing -v target='$4' '
                function part(from, size, how) {
                    gsub(/@/, dev \" \" from, how)
                    if (size) print from, size, how
                }
                BEGIN { at = 0 }
                { part(at, \$1 - at, \"linear @\"); part(\$1, \$2, target); at = \$1 + \$2 }
                END { if (!at) exit 1; part(at, end - at, \"linear @\") }' >/run/$2.table
        export DM_DISABLE_UDEV=1 # there is none in a guest
        dmsetup load $2 /run/$2.table
        dmsetup resume --nolockfs --noflush $2" >&2 || fail "guest $1: $3 cannot be put on $4"
}
