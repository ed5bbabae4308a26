#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# For want of memory a successor cannot take over: it leaves all as it is to the next one, and the worker goes on.  And where it cannot be written
# down that there is another worker, that one does not begin: a successor that goes by what was before would start a second one.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/successor.sh"
requires_worker
requires_backing

export NBDSWAP_DIE_FILE=$tmp/die
nbdswapd=$builddir/tests/server/nbdswapd-dies
resume_conf '[export a]' '[export b]'
start_server
for name in a b; do
    wait_until 60 export_is "$name" ready
    start_check "$name" --connections 2 --depth 16 --pages 512
done
four() { [ "$(field '.sessions|length')" = 4 ]; }
wait_until 60 four
first=$(worker_pid)
touch "$tmp/die.no-table"
kill_daemon
tried() { [ ! -e "$tmp/die.no-table" ]; }
wait_until 60 tried
wait_until 60 settled
check_runs
[ "$(worker_pid)" = "$first" ] || fail "another worker"
[ "$(field '.sessions|length')" = 4 ] || fail "sessions: $(field .sessions)"
if grep -E ' is cut: |LOST|are lost' "$log"; then fail "something was lost"; fi
grep -q 'is left to the next one' "$log" || fail "it was not short of memory"

touch "$tmp/die.no-text"
kill -KILL "$first"
kept_out() { grep -q 'is not let begin' "$log"; }
other() { worker_ready && [ "$(worker_pid)" != "$first" ]; }
for ((n = 0; n < 40; n++)); do
    if other 2>/dev/null; then fail "a worker serves of which a successor would not know"; fi
    rest 50
done
kept_out || fail "no worker was tried"
rm "$tmp/die.no-text"
wait_until 60 other
wait_until 60 settled
one_of_each
for name in a b; do end_check "$name"; done
kill -TERM "$server_pid"
wait_server || fail "exit status $?"
