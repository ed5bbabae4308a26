#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What the place decides: file systems that are not served are refused by name, btrfs is made NOCOW, journalled data, block devices, tmpfs.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/store/loopfs.sh"

[ "$(id -u)" = 0 ] || skip "mounts need root"
skipped=()
finds() {
    local report
    report=$("$storetool" check "$1") || true
    must_match "$report" "$2" "report on $1"
}

# Not served, each by its name, and nothing is left behind.
loopfs_make ext2 20
refused 'f: is on ext2 \(mounted on .*\), which nbdswap does not know to be safe' activate "$mnt/f" size=1M
[ ! -e "$mnt/f" ] || fail "ext2: left behind"
mkdir "$tmp/lower" "$tmp/upper" "$tmp/work" "$tmp/merged" "$tmp/tmpfs"
# Options longer than what is kept of them must not hide the name.
long=$(for i in $(seq 12); do mkdir -p "$tmp/$(printf 'x%.0s' $(seq 120))$i"; printf ':%s' "$tmp/$(printf 'x%.0s' $(seq 120))$i"; done)
if mount -t overlay overlay -o "lowerdir=$tmp/lower$long,upperdir=$tmp/upper,workdir=$tmp/work" "$tmp/merged" 2>/dev/null; then
    cleanup_fn umount -l "$tmp/merged"
    refused 'f: is on overlay \(mounted on .*/merged\), which nbdswap does not know' activate "$tmp/merged/f" size=1M
    [ ! -e "$tmp/merged/f" ] || fail "overlay: left behind"
else
    skipped+=(overlay)
fi
refused 'is on proc \(mounted on /proc\)' activate /proc/self/status
finds /proc/self/status 'fail backend: .*is on proc'

# tmpfs: for tests, and says so.
if mount -t tmpfs -o size=16m tmpfs "$tmp/tmpfs" 2>/dev/null; then
    cleanup_fn umount -l "$tmp/tmpfs"
    works 'warn backend: .*is on tmpfs, which keeps it in memory or swap: for tests only' activate "$tmp/tmpfs/f" size=1M begin random=200 end
    must_match "$out" 'random: right'
else
    skipped+=(tmpfs)
fi

# ext4 with journalled data: the mount, and a file's own flag.
loopfs_make ext4 100 data=journal
refused 'f: .* is mounted with data=journal, where direct I/O is not direct' activate "$mnt/f" size=1M
[ ! -e "$mnt/f" ] || fail "data=journal: left behind"
loopfs_make ext4 100
works 'activated' activate "$mnt/f" size=1M
if chattr +j "$mnt/f" 2>/dev/null; then
    refused 'f: journals its data' activate "$mnt/f"
else
    skipped+=("chattr +j") # needs CAP_SYS_RESOURCE
fi

# btrfs: a file without NOCOW, one that is compressed, one made under a compressing mount.
loopfs_make btrfs 300 compress-force=zstd
f=$mnt/f
works 'activated' activate "$f" size=1M
lsattr "$f" | grep >/dev/null '^[^ ]*C' || fail "btrfs: the file is not NOCOW"
head -c 4M /dev/zero >"$mnt/cow"; chmod 600 "$mnt/cow"; sync "$mnt/cow"
refused 'cow: is copy-on-write, so every write would allocate' activate "$mnt/cow" size=3M provision=rewrite
refused 'cow: is copy-on-write' activate "$mnt/cow" size=3M provision=renew force
finds "$mnt/cow" 'fail encoded: .*compressed or encoded'
touch "$mnt/c"; chattr +c "$mnt/c"; chmod 600 "$mnt/c"; head -c 1M /dev/zero >"$mnt/c"
finds "$mnt/c" 'fail compressed: .*is compressed'
mkdir "$mnt/d"; chattr +c "$mnt/d"
works 'activated' activate "$mnt/d/f" size=1M # the flag inherited from the directory is taken off before the first byte
btrfs property set "$mnt/c" compression lzo
finds "$mnt/c" 'fail compressed: .*is compressed|btrfs.compression'
# A snapshot after activation is found by the re-check.
mkdir "$mnt/x"
btrfs subvolume create "$mnt/s" >/dev/null
works 'recheck warn|recheck ok' activate "$mnt/s/f" size=1M recheck
coproc SNAP { exec "$storetool" activate "$mnt/s/f" begin hold recheck end; }
pid=$!
while read -r line <&"${SNAP[0]}"; do [ "$line" != holding ] || break; done
btrfs subvolume snapshot "$mnt/s" "$mnt/s2" >/dev/null
sync -f "$mnt"
exec {words}<&"${SNAP[0]}" # bash forgets SNAP when the process ends
exec {SNAP[1]}>&-
out=$(cat <&"$words")
exec {words}<&-
wait "$pid" || true
must_match "$out" 'fail shared: .*shared with another file or a snapshot'

# A block device: trailer at its end, exclusive, not over a file system.
truncate -s 32M "$tmp/disk"
dev=$(losetup --show -f "$tmp/disk" 2>/dev/null) || skip "no loop devices"
cleanup_fn losetup -d "$dev"
refused "$dev: has no trailer" activate "$dev"
refused 'the device has 32 MiB; with the trailer at most size=[0-9]+K .* fits' activate "$dev" size=32M provision=rewrite
works "activated $dev size=$((31 * 1048576)) backend=blockdev" activate "$dev" size=31M provision=rewrite begin random=200 end
must_match "$out" 'random: right'
must_match "$out" 'warn lock-device'
[ "$(dd if="$dev" bs=1 skip=$((32 * 1048576 - 4096)) count=8 status=none)" = NBNDSWP1 ] || fail "no trailer at the end of the device"
works 'activated' activate "$dev"
coproc DEV { exec "$storetool" activate "$dev" begin hold end; }
pid=$!
while read -r line <&"${DEV[0]}"; do [ "$line" != holding ] || break; done
refused "$dev: is already activated by process $pid" activate "$dev"
exec {DEV[1]}>&-
wait "$pid" || true
mkfs.ext4 -q "$dev" 16M
dd if=/dev/zero of="$dev" bs=4096 seek=$((32 * 256 - 2)) count=2 conv=notrunc status=none
refused 'holds filesystem \(ext4\), which would be overwritten' activate "$dev" size=31M provision=rewrite
mkdir "$tmp/devmnt"
mount "$dev" "$tmp/devmnt"
cleanup_fn eval "umount '$tmp/devmnt' 2>/dev/null || true"
refused "$dev: the device is mounted or otherwise in use on this machine" activate "$dev" size=31M provision=renew force
umount "$tmp/devmnt"
blockdev --setro "$dev"
refused "$dev: .*(read-only|not permitted)" activate "$dev" size=31M provision=renew force
blockdev --setrw "$dev"

[ ${#skipped[@]} = 0 ] || echo "not to be had here: ${skipped[*]}"
