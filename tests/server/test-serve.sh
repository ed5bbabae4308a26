#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# From start to stop: what was written is there after the worker is killed, and after a clean stop and start.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires nbdcopy --version

# What the daemon has inherited is not for its worker.
exec {stray}>"$tmp/stray"
has_stray() { readlink "/proc/$1/fd/"* | grep -qx "$tmp/stray"; }

make_conf '[export ws1]' 'description = the first' '[export ws2]' 'size = 2M'
start_server
exec {stray}>&-
has_stray "$server_pid" || fail "the daemon has not inherited what it was to inherit"
if has_stray "$(worker_pid)"; then fail "the worker has what the daemon has inherited"; fi
wait_until 60 export_is ws1 ready
wait_until 60 export_is ws2 ready

list=$(nbdinfo --list --json "nbd+unix:///?socket=$tmp/nbd.sock")
[ "$(jq -r '[.exports[]|."export-name"]|join(" ")' <<<"$list")" = "ws1 ws2" ] || fail "list: $list"
[ "$(jq -r '.exports[0].description' <<<"$list")" = "the first" ] || fail "list: $list"
[ "$(nbdinfo --size "$(uri ws1)")" = 4194304 ] || fail "size of ws1"
[ "$(nbdinfo --size "$(uri ws2)")" = 2097152 ] || fail "size of ws2"
if nbdinfo "$(uri nope)" >"$tmp/out" 2>&1; then fail "an export that does not exist was opened"; fi

head -c 4194304 /dev/urandom >"$tmp/data"
nbdcopy "$tmp/data" "$(uri ws1)"
same() {
    rm -f "$tmp/copy"
    nbdcopy "$(uri ws1)" "$tmp/copy" 2>"$tmp/copy.err" && cmp -s "$tmp/data" "$tmp/copy"
}
same || fail "what was written does not come back"
[ "$(field '.exports[0].counters.writes')" -gt 0 ] || fail "writes are not counted"
[ "$(field '.exports[0].pages.written')" = 1024 ] || fail "not 1024 pages are written"
must_match "$(ctl status)" '^ws1 +ready +4 MiB +[a-z0-9]+ +xxh3 +300 s +- +0 +[0-9]+ +[0-9]+ +0 +0 +[0-9]+ ready'

# The worker is killed: the same pages from the next one, in the same generation.
generation=$(field '.exports[0].activation')
first=$(worker_pid)
kill -KILL "$first"
other_worker() { worker_ready && [ "$(worker_pid)" != "$first" ]; }
wait_until 60 other_worker
wait_until 60 export_is ws1 ready
wait_until 60 same
[ "$(field '.exports[0].activation')" = "$generation" ] || fail "another generation after the worker's death"
[ "$(field .worker.restarts)" = 1 ] || fail "restarts: $(field .worker.restarts)"
must_match "$(field .worker.last_exit)" "worker $first was ended by signal 9"

# A clean stop and start keeps every page; nothing is left behind in between.
worker=$(worker_pid)
kill -TERM "$server_pid"
wait_server || fail "SIGTERM: exit status $?"
for left in nbd.sock control; do [ ! -e "$tmp/$left" ] || fail "$left is left behind"; done
if kill -0 "$worker" 2>/dev/null; then fail "the worker outlived a stop in order"; fi
start_server
wait_until 60 export_is ws1 ready
same || fail "pages are gone after a clean stop and start"
[ "$(field '.exports[0].activation')" = "$generation" ] || fail "another generation after a clean stop"
if grep -q 'did not end cleanly' "$log"; then fail "a clean stop was taken for an unclean one"; fi

# An end that is not clean: every page is lost, never something old or zeros.
worker=$(worker_pid)
kill -KILL "$server_pid" "$worker"
wait "$server_pid" 2>/dev/null || true
worker_gone() { ! kill -0 "$worker" 2>/dev/null; }
wait_until 30 worker_gone
start_server
wait_until 60 export_is ws1 ready
must_match "$(cat "$log")" 'export ws1: its last use did not end cleanly'
[ "$(field '.exports[0].pages.lost')" = 1024 ] || fail "not every page is lost after an unclean end"
if nbdcopy "$(uri ws1)" "$tmp/copy" >"$tmp/out" 2>&1; then fail "lost pages were read"; fi
[ "$(field '.exports[0].activation')" != "$generation" ] || fail "the generation is that of the lost pages"
nbdcopy "$tmp/data" "$(uri ws1)"
same || fail "lost pages do not come back by writing them"
ctl stop || fail "stop"
wait_server || fail "stop: exit status $?"
