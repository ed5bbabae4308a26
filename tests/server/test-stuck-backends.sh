#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A file system with many exports on it takes no writes for a while, as one whose server is away: neither what a dead worker left there nor an
# activation there is waited for by the export that lies elsewhere.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/store/loopfs.sh"
requires_worker
requires_backing
requires jq --version
requires fsfreeze --version
nbdcmd=$builddir/tests/plugin/nbdcmd

loopfs_make ext4 100
stuck=$(seq -f 's%g' 20)
lines=()
for s in $stuck; do lines+=("[export $s]" "file = $mnt/$s" 'size = 1M'); done
make_conf "${lines[@]}" '[export b]'
all_are() { [ "$(field "[.exports[]|select(.name!=\"b\" and .state==\"$1\")]|length")" = 20 ]; }
thaw() { fsfreeze -u "$mnt" 2>/dev/null || true; }
freeze() { fsfreeze -f "$mnt"; }

start_server
cleanup_fn thaw # at the end it comes first, for who waits for that cannot be ended
wait_until 60 all_are ready
wait_until 60 export_is b ready
for s in $stuck; do timeout 20 "$nbdcmd" "$(uri "$s" me)" write 0 4k 7; done
timeout 20 "$nbdcmd" "$(uri b me)" write 0 64k 9

freeze
worker=$(worker_pid)
kill -KILL "$worker"
replaced() { [ "$(worker_pid)" != "$worker" ] && worker_ready; }
wait_until 30 replaced
wait_until 30 export_is b ready
timeout 20 "$nbdcmd" "$(uri b me)" read 0 64k 9 || fail "the other export is not to be had after the worker's death"
all_are settling || fail "what was to be stuck is not: $(ctl status)"
thaw
wait_until 60 all_are ready
for s in $stuck; do timeout 20 "$nbdcmd" "$(uri "$s" me)" read 0 4k 7; done

ctl stop
wait_server
freeze
launch_server
cleanup_fn thaw
wait_until 60 worker_ready
wait_until 30 export_is b ready
timeout 20 "$nbdcmd" "$(uri b me)" read 0 64k 9 || fail "the other export is not to be had while many are activated"
all_are activating || fail "what was to be stuck is not: $(ctl status)"
thaw
wait_until 60 all_are ready
