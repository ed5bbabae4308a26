#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Once it runs the keeper takes no memory from the system, whatever it is sent and however often it starts its daemon.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/keeper.sh"
requires strace -e trace=%memory true

start_keeper 0 1 1 obey
wait_until 30 started 1
timeout 120 strace -e trace=%memory,waitid -o "$tmp/strace" -p "$keeper" 2>"$tmp/strace.err" &
tracer=$!
cleanup_fn end_process "$tracer"
traced() { grep -q '^TracerPid:[^0-9]*[1-9]' "/proc/$keeper/status" || gone "$tracer"; }
wait_until 30 traced
! gone "$tracer" || skip "strace cannot attach: $(cat "$tmp/strace.err")"
for ((n = 0; n < 3; n++)); do
    tell 'raw 200 FDSTORE=1\nFDNAME=many'
    tell "store one$n text"
    tell 'big 5 FDSTORE=1\nFDNAME=big\n'
    tell 'raw 1 BARRIER=1\nFDSTORE=1'
    tell 'child 9 FDSTORE=1\nFDNAME=stranger'
    tell 'store-end polled'
    kill_child
done
tell 'remove many'
kill -TERM "$tracer"
wait "$tracer" 2>/dev/null || true
# It was looked at: each death was waited for.
[ "$(grep -c '^waitid(' "$tmp/strace")" -ge 3 ] || fail "strace saw nothing: $(cat "$tmp/strace")"
grep -vE '^(waitid|---|strace:)' "$tmp/strace" && fail "the keeper asked the system for memory"
kill -TERM "$keeper"
ended_with 7
nothing_wrong
