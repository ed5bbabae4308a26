#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# When the keeper starts its daemon again, after which pause, and when it ends with it; signals are passed on.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/keeper.sh"

# ---- an exit code before a daemon was ever ready is final ----
start_keeper 0 50 50 exit 3
ended_with 3
[ "$(starts)" = 1 ] || fail "it was started $(starts) times"

# ---- afterwards it is a death, but for 0, and for what said that it stops ----
again() {
    wait_until 30 started $(($1 + 1))
    ! gone "$keeper" || fail "the keeper has ended"
}
start_keeper 0 50 50 obey
wait_until 30 started 1
tell 'raw 0 READY=1'
echo 'exit 5' >"$tmp/cmd"
again 1
echo 'exit 6' >"$tmp/cmd"
again 2
kill -USR2 "$keeper" # its handler ends it with 0
again 3
[ -e "$tmp/signal-12" ] || fail "SIGUSR2 was not passed on"
echo 'exit 0' >"$tmp/cmd"
ended_with 0
start_keeper 0 50 50 obey
wait_until 30 started 1
tell 'raw 0 READY=1'
tell 'raw 0 STOPPING=1'
echo 'exit 5' >"$tmp/cmd"
ended_with 5

# ---- pauses grow, up to a limit, for those that live shortly ----
start_keeper 60000 50 400 obey
wait_until 30 started 1
: >"$tmp/log"
began=${EPOCHREALTIME/./}
for ((n = 0; n < 6; n++)); do kill_child; done
took=$(((${EPOCHREALTIME/./} - began) / 1000))
pauses=$(sed -n 's/.* the next one is started in \([0-9]*\) ms, .*/\1/p' "$tmp/log" | tr '\n' ' ')
[ "$pauses" = "50 100 200 400 400 400 " ] || fail "pauses: $pauses"
((took >= 1550)) || fail "six pauses took $took ms"

# ---- signals; one that is told to stop ends with its daemon, one that has none at once ----
for s in 1 10 2; do
    kill -s "$s" "$keeper"
    wait_until 30 test -e "$tmp/signal-$s"
done
kill -KILL "$(child)" # SIGINT was to stop it
ended_with 1
start_keeper 60000 60000 60000 obey
wait_until 30 started 1
: >"$tmp/log"
kill -KILL "$(child)"
wait_until 30 grep -q 'is started in 60000 ms' "$tmp/log"
kill -TERM "$keeper"
ended_with 1

# ---- SIGTERM before the daemon has a handler: it waits for that ----
for ((n = 0; n < 20; n++)); do
    start_keeper 0 50 50 obey
    until [ -n "$(cat "/proc/$keeper/task/$keeper/children")" ]; do :; done
    kill -TERM "$keeper"
    rc=0
    wait "$keeper" || rc=$?
    [ "$rc" = 7 ] || fail "SIGTERM at the very start: exit code $rc"
done
nothing_wrong
