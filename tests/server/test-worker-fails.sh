#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A worker that cannot start is tried again with growing pauses and said in status; the daemon stays to be asked and stopped.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires jq --version

case $(engine) in
native) program=native descriptors=(socket: socket: /memfd:) ;;
*) program=nbdkit descriptors=(socket: socket:) ;;
esac

server_lines="$program = $tmp/no-such-program"
make_conf
launch_server
tried() { [ "$(field .worker.restarts)" -ge 3 ]; }
wait_until 60 tried
must_match "$(field .worker.last_exit)" 'exited with status 127'
must_match "$(cat "$log")" 'no-such-program cannot be executed as a worker'
must_match "$(ctl status)" 'The worker is not ready'
kill -TERM "$server_pid"
wait_server || fail "it did not stop in order"

# One that runs but is no worker: it never says ready, and a stop does not wait for it.
printf '#!/bin/sh\nexec sleep 300\n' >"$tmp/sleeper"
chmod 755 "$tmp/sleeper"
server_lines="$program = $tmp/sleeper"
make_conf
launch_server
starting() { [ "$(field .worker.state)" = starting ]; }
wait_until 30 starting
sleeper=$(worker_pid)
# It got what a worker should: sockets from 3, the broker behind them, the engine's pool, a small stack, one arena.
in_sleep() { [ "$(cat "/proc/$sleeper/comm")" = sleep ]; }
wait_until 30 in_sleep
fd=3
for kind in "${descriptors[@]}"; do
    must_match "$(readlink "/proc/$sleeper/fd/$fd")" "^$kind" "descriptor $fd"
    fd=$((fd + 1))
done
[ ! -e "/proc/$sleeper/fd/$fd" ] || fail "more descriptors than it should have: $(ls -l "/proc/$sleeper/fd")"
must_match "$(tr '\0' '\n' <"/proc/$sleeper/environ")" "^LISTEN_PID=$sleeper\$"
must_match "$(tr '\0' '\n' <"/proc/$sleeper/environ")" '^LISTEN_FDS=1$'
must_match "$(tr '\0' '\n' <"/proc/$sleeper/environ")" '^MALLOC_ARENA_MAX=1$'
must_match "$(grep 'Max stack size' "/proc/$sleeper/limits")" 'Max stack size +262144 '
kill -TERM "$server_pid"
wait_server || fail "it did not stop in order"
if kill -0 "$sleeper" 2>/dev/null; then fail "the worker is left behind"; fi
