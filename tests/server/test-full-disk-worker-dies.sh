#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Nothing is free any more where the backing files lie, and the worker dies: what it left is waited for all the same, and no page is lost.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/store/loopfs.sh"
requires_worker
requires jq --version
nbdcmd=$builddir/tests/plugin/nbdcmd

loopfs_make ext4 310
ext4=$mnt
loopfs_make xfs 310
make_conf '[export e]' "file = $ext4/e" '[export x]' "file = $mnt/x"
start_server
both() { export_is e "$1" && export_is x "$1"; }
wait_until 60 both ready
for x in e x; do timeout 30 "$nbdcmd" "$(uri $x me)" write 0 1M 7; done
for dir in "$ext4" "$mnt"; do
    # The last blocks go to files of one block, which the first that cannot be had ends.
    dd if=/dev/zero of="$dir/fill" bs=1M oflag=direct status=none 2>/dev/null || true
    dd if=/dev/zero of="$dir/rest" bs=4k oflag=direct status=none 2>/dev/null || true
    for ((n = 0; n < 200; n++)); do
        dd if=/dev/zero of="$dir/one.$n" bs=4k count=1 conv=fsync status=none 2>/dev/null || break
    done
    ((n < 200)) || fail "$dir is not full"
done
worker=$(worker_pid)
kill -KILL "$worker"
replaced() { worker_ready && [ "$(worker_pid)" != "$worker" ]; }
wait_until 60 replaced
wait_until 60 both ready
for x in e x; do
    timeout 30 "$nbdcmd" "$(uri $x me)" read 0 1M 7 write 0 64k 8 read 0 64k 8 || fail "$x: $(grep "export $x" "$log")"
done
if grep 'LOST' "$log"; then fail "pages were lost"; fi
