#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A worker dies, and what it left cannot be settled for longer than its client's lease is kept: the client could not come back meanwhile, so
# from then on it has the whole time for that, and nobody else gets the export.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/store/loopfs.sh"
requires_worker
requires jq --version
requires fsfreeze --version
nbdcmd=$builddir/tests/plugin/nbdcmd

loopfs_make ext4 100
make_conf '[export a]' "file = $mnt/a"
thaw() { fsfreeze -u "$mnt" 2>/dev/null || true; }
start_server
cleanup_fn thaw # at the end it comes first, for who waits for that cannot be ended
wait_until 60 export_is a ready
hold_open a me
cut() { [ "$(field .worker.restarts)" = 1 ] && [ "$(field '.exports[0].sessions')" = 0 ]; }
fsfreeze -f "$mnt"
kill -KILL "$(worker_pid)"
wait_until 30 cut
client_is a me || fail "the lease is gone with the session"
wait_until 60 client_is a null
export_is a settling || fail "what was to be stuck is not: $(ctl status)"
[ "$(grep -c 'export a: what its dead worker left at .* has not ended after 10 s' "$log")" = 1 ] || fail "the administrator is not told"
thaw
wait_until 60 export_is a ready
client_is a me || fail "the client lost its export while it could not come back"
if timeout 20 "$nbdcmd" "$(uri a other)" read 0 4k 0 >"$tmp/out" 2>&1; then fail "another client was let in"; fi
must_match "$(cat "$log")" 'refused to unix: export "a" is kept for client me'
timeout 20 "$nbdcmd" "$(uri a me)" write 0 4k 5 read 0 4k 5
