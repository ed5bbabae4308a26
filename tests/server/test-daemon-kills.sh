#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The daemon is killed again and again under load: its worker goes on, the same one with the same sessions, and each successor takes over files,
# tables, sessions and listening sockets; new clients wait and get in.  No request fails, no page is wrong, and nobody notices a pause.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/successor.sh"
requires_worker
requires_backing
rounds=12
[ -z "${NBDSWAP_LONG:-}" ] || rounds=300

resume_conf '[export plain]' 'check = none' '[export checked]' '[export third]' '[export given]'
start_server
port=$(port)
for name in plain checked; do
    wait_until 60 export_is "$name" ready
    start_check "$name" --connections 2 --depth 32 --pages 1024
done
wait_until 60 export_is third ready
wait_until 60 export_is given ready
ctl deactivate given >"$tmp/out" 2>&1 || fail "$(cat "$tmp/out")"
four() { [ "$(field '.sessions|length')" = 4 ]; }
wait_until 60 four
first=$(worker_pid)
inode=$(stat -L -c %i "$tmp/plain.swap")
for ((n = 1; n <= rounds; n++)); do
    rest $((RANDOM % 700))
    kill_daemon
    one_of_each
    # Somebody comes while there is no daemon, or one that has only just begun; and goes.
    out=$(timeout 60 "$nbdcheck" --port "$port" --export third --connections 1 --depth 8 --operations 50 2>&1) || fail "round $n: a new client: $out"
    check_runs
done
wait_until 60 settled
one_of_each
[ "$(worker_pid)" = "$first" ] || fail "another worker"
[ "$(field '.sessions|length')" = 4 ] || fail "sessions: $(field .sessions)"
[ "$(field .takeovers)" = "$rounds" ] || fail "takeovers: $(field .takeovers), not $rounds"
# Somebody else may have it by now.
export_is given deactivated || fail "what was given back is $(field '.exports[]|select(.name=="given")|.state')"
# The lock never was anybody else's, and still is ours.
[ "$(stat -L -c %i "$tmp/plain.swap")" = "$inode" ] || fail "another file"
if out=$(timeout 20 "$builddir/server/nbdswapctl" activate --file "$tmp/plain.swap" 2>&1); then fail "the file could be activated once more"; fi
must_match "$out" 'activated by|locked by'
for name in plain checked; do
    end_check "$name"
    [ "$(value operations)" -ge 1000 ] || fail "$name: $said"
    ms=$(value longest_pause_ms)
    ((ms < 3000)) || fail "a pause of $ms ms"
done
if grep -E ' is cut: |LOST|lost until|settl' "$log"; then fail "something was lost"; fi
[ "$(field '[.exports[].counters.lost_pages]|add')" = 0 ] || fail "pages were lost"
kill -TERM "$server_pid"
wait_server || fail "exit status $?"
[ -z "$(ours nbdswapd; ours nbdswap-engine; ours nbdkit)" ] || fail "something is left: $(ours nbdswapd) $(ours nbdswap-engine) $(ours nbdkit)"
# What the last daemon ended in order was the whole of it.
start_server
wait_until 60 export_is checked ready
if grep -q 'did not end cleanly' "$log"; then fail "an export was not ended cleanly"; fi
echo "$daemon_kills daemons killed"
