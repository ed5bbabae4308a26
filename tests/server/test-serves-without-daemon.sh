#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The daemon is killed: its worker goes on with the clients it has, takes no new one, and ends with the last of them.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
nbdcmd=$builddir/tests/plugin/nbdcmd

make_conf '[export a]'
start_server
wait_until 60 export_is a ready
worker=$(worker_pid)
cleanup_fn end_process "$worker"

mkfifo "$tmp/go"
timeout 120 "$nbdcmd" "$(uri a me)" write 0 64k 5 pause read 0 64k 5 write 0 64k 6 pause read 0 64k 6 <"$tmp/go" >"$tmp/client" 2>&1 &
client=$!
exec {go}>"$tmp/go"
paused() { [ "$(grep -c paused "$tmp/client")" = "$1" ]; }
wait_until 30 paused 1
kill -KILL "$server_pid"
wait "$server_pid" || true
# Whoever is refused has been heard after the daemon's end.
if timeout 30 "$nbdcmd" "$(uri a me)" read 0 4k 5 >"$tmp/refused" 2>&1; then fail "a new client was let in without a daemon"; fi
echo >&"$go"
wait_until 60 paused 2
kill -0 "$worker" || fail "the worker ended under its client"
echo >&"$go"
wait "$client" || fail "the client was disturbed: $(cat "$tmp/client")"
is_gone() { ! kill -0 "$worker" 2>/dev/null; }
wait_until 30 is_gone
