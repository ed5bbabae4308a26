#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# An allocation that was interrupted, by a word or by SIGKILL, is never trusted half; it is finished or made anew. A full file system
# leaves nothing behind, and no old trailer that vouches for pages that were written over.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/store/loopfs.sh"

# killed ARG...: storetool must end by SIGKILL.
killed() {
    "$storetool" "$@" >/dev/null 2>&1 &
    wait $! && fail "not killed: $*"
    return 0
}

free_mib() { echo $(($(stat -f -c '%a * %S' "$mnt") / 1048576)); }
has_free() {
    sync -f "$mnt"
    [ "$(free_mib)" -gt $(($1 + 10)) ]
}

for fs in ext4 xfs btrfs; do
    loopfs_make $fs 1200
    f=$mnt/f

    # Told to stop: durable, said, resumed where it stopped.
    refused 'error EINTR: .*f: allocation interrupted; activate it again to go on' activate "$f" size=200M stop=100M
    [ -e "$f" ] || fail "$fs: what was interrupted is gone"
    refused 'f: its allocation was interrupted after 63 %' activate "$f" provision=never
    report=$("$storetool" check "$f") || true
    must_match "$report" 'fail trailer: .*interrupted after 63 %'
    # A copy of it is not gone on with but begun again: what its header says was said of another file.
    touch "$mnt/copy"; chmod 600 "$mnt/copy"; [ $fs != btrfs ] || chattr +C "$mnt/copy"
    cat "$f" >"$mnt/copy"; sync "$mnt/copy"
    works 'activated' activate "$mnt/copy"
    [ "$(sed -n 's/^progress \([0-9]*\).*/\1/p' <<<"$out" | head -1)" = $((64 * 1048576)) ] || fail "$fs: a copy was gone on with"
    rm "$mnt/copy"
    works 'activated .* size=209715200' activate "$f" begin random=100 end
    [ "$(sed -n 's/^progress \([0-9]*\).*/\1/p' <<<"$out" | head -1)" -gt $((128 * 1048576)) ] || fail "$fs: it began again from the start"
    must_match "$out" 'table fresh=51200'
    must_match "$out" 'random: right'

    # Killed: what was not marked as synced is written again.
    rm "$f"
    killed activate "$f" size=400M kill=320M
    refused 'f: its allocation was interrupted after (0|63) %' activate "$f" provision=never
    works 'activated' activate "$f"
    first=$(sed -n 's/^progress \([0-9]*\).*/\1/p' <<<"$out" | head -1)
    # The mark was at 256 MiB, so it went on from there, not from the 320 MiB that were written but not synced for sure.
    [ "$first" = $(((256 + 64) * 1048576)) ] || fail "$fs: it went on to $first first"

    # Killed while a satisfied file was made anew: neither its old trailer nor its old table is believed.
    works 'ended' activate "$f" begin write=0+32:9 end
    killed activate "$f" size=400M provision=renew kill=64M
    refused 'f: its allocation was interrupted' activate "$f" provision=never
    # And not when the newest header of the two is damaged either.
    size=$(stat -c %s "$f")
    a=$(od -An -tu8 -j $((size - 8192 + 16)) -N8 "$f"); b=$(od -An -tu8 -j $((size - 4096 + 16)) -N8 "$f")
    dd if=/dev/zero of="$f" bs=1 seek=$((size - (a > b ? 8192 : 4096) + 64)) count=64 conv=notrunc status=none
    refused 'f: its allocation was interrupted' activate "$f" provision=never
    # A change of mind about the size of what is not finished.
    works 'size=4194304' activate "$f" size=4M
    rm "$f"

    # Made larger, killed: the old trailer in the middle is not at the end any more.
    works 'ended' activate "$f" size=100M begin write=0+32:9 end
    killed activate "$f" size=200M provision=renew kill=64M
    refused 'f: its allocation was interrupted' activate "$f" provision=never
    rm "$f"

    # Full in the middle: the space went to somebody else after it had been counted (the allocation stops at
    # its first progress line, which nobody reads, until the other has it).
    works 'ended' activate "$f" size=100M begin write=0+32:9 end
    old=$(stat -c %s "$f")
    free=$(free_mib)
    want=$((free * 8 / 10))
    mkfifo "$tmp/fifo.$fs"
    "$storetool" activate "$f" size="${want}M" provision=renew >"$tmp/fifo.$fs" 2>&1 &
    pid=$!
    exec 7<"$tmp/fifo.$fs"
    read -r line <&7
    fallocate -l "$((free * 5 / 10))M" "$mnt/eater" || dd if=/dev/zero of="$mnt/eater" bs=1M count=$((free * 5 / 10)) status=none || true
    words=$line$(cat <&7)
    exec 7<&-
    if wait "$pid"; then fail "$fs: a full file system was not noticed"; fi
    must_match "$words" 'error (ENOSPC|EDQUOT): .*f: the file system is full after .* of .*; free space there or give a smaller size'
    [ "$(stat -c %s "$f")" = "$old" ] || fail "$fs: the old size was not restored"
    [ "$(stat -c %b "$f")" -lt 1000 ] || fail "$fs: the disk was left full"
    refused 'f: has no trailer' activate "$f"
    rm "$f" "$mnt/eater"
    wait_until 60 has_free "$want" # xfs gives back in the background
    # The same with a file of its own making: nothing is left.
    "$storetool" activate "$f" size="${want}M" >"$tmp/fifo.$fs" 2>&1 &
    pid=$!
    exec 7<"$tmp/fifo.$fs"
    read -r line <&7
    fallocate -l "$((free * 5 / 10))M" "$mnt/eater" || dd if=/dev/zero of="$mnt/eater" bs=1M count=$((free * 5 / 10)) status=none || true
    words=$line$(cat <&7)
    exec 7<&-
    if wait "$pid"; then fail "$fs: a full file system was not noticed"; fi
    must_match "$words" 'error (ENOSPC|EDQUOT): .*the file system is full'
    [ ! -e "$f" ] || fail "$fs: a file was left behind"
    loopfs_drop "$mnt"
    echo "$fs: right"
done
