#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# While it is in use the file sees only aligned direct reads and writes, and keeps its blocks and extents.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/store/loopfs.sh"
requires command -v strace

extents() { filefrag -v "$1" | grep -E '^ +[0-9]+:'; }

for fs in ext4 xfs btrfs; do
    loopfs_make $fs
    f=$mnt/f
    works 'activated' activate "$f" size=32M begin end
    sync "$f"
    blocks=$(stat -c '%b %s' "$f")
    map=$(extents "$f")
    ASAN_OPTIONS=detect_leaks=0 strace -f -y -o "$tmp/trace" "$storetool" activate "$f" begin random=3000 end >"$tmp/out" 2>&1 || fail "$fs: $(cat "$tmp/out")"
    must_match "$(cat "$tmp/out")" 'random: right'
    sync "$f"
    [ "$(stat -c '%b %s' "$f")" = "$blocks" ] || fail "$fs: blocks were $blocks, are $(stat -c '%b %s' "$f")"
    [ "$(extents "$f")" = "$map" ] || fail "$fs: the extents have changed"
    grep -qE "openat?\\(.*O_RDWR\\|O_DIRECT\\|O_CLOEXEC\\) = [0-9]+<$f>" "$tmp/trace" || fail "$fs: not opened with O_DIRECT"
    # From the in-use mark (the first write) on.
    # At the end the lock is given back; and on btrfs a worker's own description is made (store/barrier.h).
    locks='fcntl(.*F_OFD_SETLK, {l_type=F_UNLCK'
    [ $fs != btrfs ] || locks='fcntl(\|openat(AT_FDCWD<[^>]*>, "/proc/self/fd/'
    grep -F "<$f>" "$tmp/trace" | sed -n '/ pwrite64(/,$p' | grep -v "$locks" >"$tmp/onfile"
    sed -E 's/^[0-9]+ +([a-z0-9_]+)\(.*/\1/' "$tmp/onfile" | sort | uniq -c >"$tmp/kinds"
    grep -qE ' pwritev$' "$tmp/kinds" && grep -qE ' preadv$' "$tmp/kinds" || fail "$fs: no vectored I/O: $(cat "$tmp/kinds")"
    # (The look is at its length, before the table is written.)
    if grep -vE ' (preadv|pwritev|pread64|pwrite64|fsync|newfstatat|fstat|close)$' "$tmp/kinds"; then fail "$fs: other calls on the file"; fi
    # Vectored: every piece a page, the offset a multiple of one.  Plain ones are the trailer's, aligned too.
    grep -E ' p(read|write)v\(' "$tmp/onfile" | sed 's/.*\], [0-9]*, \([0-9]*\)) *= \([0-9]*\)$/\1 \2/' |
        awk '$1 % 4096 || $2 % 4096 || NF != 2 { print; bad = 1 } END { exit bad }' || fail "$fs: unaligned"
    grep -E ' p(read|write)64\(' "$tmp/onfile" | sed 's/.*, \([0-9]*\), \([0-9]*\)) *= \([0-9]*\)$/\1 \2 \3/' |
        awk '$1 % 4096 || $2 % 4096 || $3 % 4096 || NF != 3 { print; bad = 1 } END { exit bad }' || fail "$fs: unaligned"
    if grep -oE 'iov_len=[0-9]+' "$tmp/onfile" | sort -u | grep -vx 'iov_len=4096'; then fail "$fs: pieces that are no pages"; fi
    loopfs_drop "$mnt"
    echo "$fs: $(awk '{ printf "%s %s  ", $1, $2 }' "$tmp/kinds")"
done
