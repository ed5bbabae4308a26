#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Whoever activated a file is killed, and its worker goes on: nobody else gets the file before that one is gone too.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/store/loopfs.sh"

# kept FILE ARG...
kept() {
    local file=$1 worker
    shift
    works 'activated' activate "$file" "$@" begin write=0+1:7 worker crash
    worker=$(sed -n 's/^worker //p' <<<"$out")
    cleanup_fn end_process "$worker"
    refused "error EBUSY: $file: is already activated by process [0-9]+ " activate "$file"
    refused "error EBUSY: $file: is already activated by process [0-9]+ " activate "$file" provision=renew
    out=$("$storetool" check "$file" || true)
    must_match "$out" 'warn lock: .* is activated by process'
    kill -KILL "$worker"
    wait_until 30 not_there "$worker"
    works 'unclean=1' activate "$file" begin end
}
not_there() { ! [ -e "/proc/$1" ]; }

loopfs_make ext4 100
kept "$mnt/f" size=1M
truncate -s 32M "$tmp/disk"
dev=$(losetup --show -f "$tmp/disk" 2>/dev/null) || skip "no loop devices"
cleanup_fn losetup -d "$dev"
kept "$dev" size=31M provision=rewrite
loopfs_make btrfs 300
kept "$mnt/f" size=1M
