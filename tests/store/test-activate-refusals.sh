#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What cannot be made safe is refused, each with its own message, and what was there stays as it was.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/store/loopfs.sh"

total=$((4 * 1048576 + 4 * 4096 + 8192))
fresh() {
    rm -f "$f"
    "$storetool" activate "$f" size=4M >/dev/null
}
# finds REGEX: the check's report has this line.
finds() {
    local report
    report=$("$storetool" check "$f") || true
    must_match "$report" "$1" "report on $f"
}

for fs in ext4 xfs btrfs; do
    loopfs_make $fs 300
    f=$mnt/f

    # No file, no size, no space: nothing is left behind.
    refused 'f: does not exist; give a size' activate "$f"
    refused 'does not exist' activate "$f" size=4M provision=never
    refused 'is not a multiple of a page' activate "$f" size=1000
    refused 'needs .*, .* are free on .*; free space there or give a smaller size' activate "$f" size=1G
    [ -z "$(find "$mnt" -name 'f*')" ] || fail "$fs: something was left behind"

    # Somebody's file of the same name, without a trailer: refused as long as rewriting was not asked for.
    head -c 5000000 /dev/urandom >"$f"
    chmod 600 "$f"
    [ $fs != btrfs ] || { rm "$f"; touch "$f"; chattr +C "$f"; head -c 5000000 /dev/urandom >"$f"; chmod 600 "$f"; }
    sync "$f"
    sum=$(sha256sum <"$f")
    refused 'f: its size of 5000000 bytes is not a multiple of a page' activate "$f"
    finds 'fail trailer: .*has no trailer of nbdswap'
    truncate -s 4M "$f"
    sum=$(sha256sum <"$f")
    refused 'f: has no trailer of nbdswap' activate "$f"
    refused 'f: has no trailer of nbdswap' activate "$f" size=1M
    [ "$(sha256sum <"$f")" = "$sum" ] || fail "$fs: a refused file was changed"
    # A file system on it is not written over, except by force; a swap area is.
    mkfs.ext4 -q -F "$f" >/dev/null 2>&1
    sum=$(sha256sum <"$f")
    refused 'f: holds filesystem \(ext4\), which would be overwritten' activate "$f" size=3M provision=rewrite
    refused 'f: holds filesystem \(ext4\), which would be overwritten' activate "$f" size=3M provision=renew
    [ "$(sha256sum <"$f")" = "$sum" ] || fail "$fs: a foreign file system was changed"
    works 'activated' activate "$f" size=3M provision=rewrite force
    rm "$f"; touch "$f"; [ $fs != btrfs ] || chattr +C "$f"
    chmod 600 "$f"; head -c 4M /dev/zero >"$f"; mkswap "$f" >/dev/null 2>&1; sync "$f"
    works 'activated' activate "$f" size=3M provision=rewrite

    # Put to another use, which did not reach the end with our trailer: never used before, or with a client's pages, whether the signature lies
    # in one of them or beside. A client's own file system is none, nor is a page that went bad.
    foreign='f: holds filesystem \(ext4\) that was not written by a client'
    head -c 3M /dev/zero >"$tmp/ext4"
    mkfs.ext4 -q -F "$tmp/ext4" >/dev/null 2>&1
    overwrite() { dd if="$1" of="$f" bs=4096 count="$2" seek="${3:-0}" skip="${3:-0}" conv=notrunc status=none && sync "$f"; }
    fresh
    overwrite "$tmp/ext4" 768
    sum=$(sha256sum <"$f")
    refused "$foreign" activate "$f" size=4M begin
    refused "$foreign" activate "$f" size=4M provision=rewrite begin
    [ "$(sha256sum <"$f")" = "$sum" ] || fail "$fs: what was put to another use was changed"
    works 'table fresh=1024' activate "$f" provision=rewrite force begin end
    # A signature that came up in the noise of the allocation.
    fresh
    printf 'LUKS\xba\xbe\x00\x01' | dd of="$f" bs=8 count=1 conv=notrunc status=none
    sync "$f"
    [ "$(blkid -p -o value -s TYPE "$f")" = crypto_LUKS ] || fail "$fs: libblkid does not take it for one"
    works 'table fresh=1024' activate "$f" begin end
    for page in 0 16; do
        fresh
        works ended activate "$f" begin write=$page+1:7 end
        overwrite "$tmp/ext4" 768
        sum=$(sha256sum <"$f")
        refused "$foreign" activate "$f" begin
        [ "$(sha256sum <"$f")" = "$sum" ] || fail "$fs: what was put to another use was changed"
        works "read=$page.1 error=EIO" activate "$f" force begin read=$page+1 end
        works 'table fresh=1024' activate "$f" provision=renew begin end
    done
    fresh
    works ended activate "$f" begin "load=0+2:$tmp/ext4" end
    works 'table fresh=1022 written=2' activate "$f" begin write=5+1:3 end
    overwrite /dev/urandom 1 5
    works 'read=5.1 error=EIO' activate "$f" begin read=5+1 end
    fresh
    works ended activate "$f" begin "load=0+2:$tmp/ext4" discard=0+2 write=9+1:7 end
    works 'table fresh=1023 written=1' activate "$f" begin end

    # Holes, unwritten extents, a cut trailer.
    fresh
    fallocate -p -o 1M -l 64K "$f"; sync "$f"
    refused 'f: has 1 hole, first at 1 MiB' activate "$f"
    finds 'fail blocks: .* occupies'
    works 'activated' activate "$f" provision=rewrite
    finds 'ok holes'
    fresh
    fallocate -z -o 2M -l 128K "$f"; sync "$f"
    finds 'fail unwritten: .*f: has [0-9]+ extents? allocated but never written, first at 2 MiB'
    refused 'allocated but never written|has 1 hole' activate "$f"
    rm "$f"; touch "$f"; chmod 600 "$f"; [ $fs != btrfs ] || chattr +C "$f"
    truncate -s $total "$f"
    refused 'has no trailer' activate "$f" size=4M
    finds 'fail holes: .*has 1 hole, first at 0 b'
    works 'activated' activate "$f" size=4M provision=rewrite
    fresh
    truncate -s $((total - 4096)) "$f"
    refused 'f: has no trailer' activate "$f" size=4M
    truncate -s $total "$f"
    works 'activated' activate "$f" size=4M provision=rewrite

    # Copies and reflinks. (A plain copy on a local file system shows its own blocks and is as good.)
    if [ $fs != ext4 ]; then
        fresh
        touch "$mnt/f2"
        [ $fs != btrfs ] || chattr +C "$mnt/f2" # a clone is between files of one kind
        if cp --reflink=always "$f" "$mnt/f2"; then
            sync "$f"
            refused 'f: has [0-9]+ extents? shared with another file or a snapshot' activate "$f"
            works 'activated' activate "$f" provision=rewrite
            finds 'ok extents'
        else
            [ $fs = xfs ] || fail "$fs: no reflink"
        fi
        rm -f "$mnt/f2"
    fi

    # Mode, flags, links.
    fresh
    chmod 666 "$f"
    refused 'f: mode 0666 lets others read or write swapped memory; chmod 0600' activate "$f"
    chmod 644 "$f"
    works 'warn mode: .*mode 0644' activate "$f"
    chmod 600 "$f"
    ln "$f" "$mnt/f3"
    works 'warn links: .*has 2 hard links' activate "$f"
    rm "$mnt/f3"
    chattr +i "$f"
    refused 'f: is immutable; run .chattr -i. on it' activate "$f"
    finds 'fail immutable'
    chattr -i "$f"; chattr +a "$f"
    refused 'f: can only be appended to; run .chattr -a. on it' activate "$f"
    finds 'fail append-only'
    chattr -a "$f"

    # Sizes: another than it was made for; pages of a clean stop are not given up but on the express word.
    fresh
    refused 'f: was made for 4 MiB, the size asked for is 8 MiB' activate "$f" size=8M
    refused 'f: was made for 4 MiB, the size asked for is 8 MiB' activate "$f" size=8M provision=rewrite
    works 'size=8388608' activate "$f" size=8M provision=renew begin write=1+1:4 end
    fallocate -p -o 4M -l 64K "$f"; sync "$f"
    refused 'hole.*a client may count on its pages: only .*--rewrite' activate "$f" provision=rewrite
    works 'read=1.1 error=0 cause=0 value=0' activate "$f" provision=renew begin read=1+1 end

    # Held: by whom.
    fresh
    coproc HOLD { exec "$storetool" activate "$f" begin hold end; }
    hold_pid=$!
    while read -r line <&"${HOLD[0]}"; do [ "$line" != holding ] || break; done
    refused "f: is already activated by process $hold_pid on $(uname -n) since .*; stop it there first" activate "$f"
    finds "warn lock: .*is activated by process $hold_pid"
    finds 'ok trailer'
    exec {HOLD[1]}>&-
    wait "$hold_pid" || fail "the holder failed"
    works 'activated' activate "$f"

    # Changed by somebody while it is in use: found by the re-check.
    coproc HOLD { exec "$storetool" activate "$f" begin hold recheck hold; }
    hold_pid=$!
    while read -r line <&"${HOLD[0]}"; do [ "$line" != holding ] || break; done
    truncate -s 3M "$f"
    exec {words}<&"${HOLD[0]}" # bash forgets HOLD when the process ends
    exec {HOLD[1]}>&-
    report=$(cat <&"$words")
    exec {words}<&-
    wait "$hold_pid" || true
    must_match "$report" 'fail size: .*f: had [0-9]+ bytes when it was activated and has 3145728 now'

    # Read-only.
    fresh
    mount -o remount,ro "$mnt"
    refused 'f: is on a read-only mount or device; remount it read-write' activate "$f"
    finds 'fail mount-ro: .* is mounted read-only'
    mount -o remount,rw "$mnt"
    echo "$fs: right"
done
