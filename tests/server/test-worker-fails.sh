#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A worker that cannot start is tried again with growing pauses and said in status; the daemon stays to be asked and stopped.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires jq --version

# try_worker ENGINE PROGRAM: a daemon whose worker, of this kind, is to be this program.
try_worker() {
    export ENGINE=$1
    make_conf
    sed -i "/^$1 = /d; s|^\[server\]$|&\n$1 = $2|" "$conf"
    launch_server
}

tried() { [ "$(field .worker.restarts)" -ge 3 ]; }
for which in nbdkit native; do
    try_worker "$which" "$tmp/no-such-$which"
    wait_until 60 tried
    must_match "$(field .worker.last_exit)" 'exited with status 127'
    must_match "$(cat "$log")" "no-such-$which cannot be executed as a worker"
    must_match "$(ctl status)" 'The worker is not ready'
    kill -TERM "$server_pid"
    wait_server || fail "it did not stop in order"
done

# A program of another version than the daemon, as a package brings it while the daemon runs: it says so and touches nothing.
cat >"$tmp/other-version" <<EOF
#!/bin/bash
args=("\$@")
exec "$builddir/server/nbdswap-engine" "\${args[@]/#interface=*/interface=4711}"
EOF
chmod 755 "$tmp/other-version"
try_worker native "$tmp/other-version"
wait_until 60 tried
must_match "$(field .worker.last_exit)" 'exited with status 2'
must_match "$(cat "$log")" 'nbdswapd is of another version \(its interface is 4711, this program.s [0-9]+\); put the program back'
kill -TERM "$server_pid"
wait_server || fail "it did not stop in order"

# One that runs but is no worker: it never says ready, and a stop does not wait for it.
printf '#!/bin/sh\nexec sleep 300\n' >"$tmp/sleeper"
chmod 755 "$tmp/sleeper"
starting() { [ "$(field .worker.state)" = starting ]; }
in_sleep() { [ "$(cat "/proc/$sleeper/comm")" = sleep ]; }
# It got what a worker should: sockets from 3, the broker behind them (and the engine the memory of its buffers), a small stack, one arena.
for what in 'nbdkit socket:.*_socket:.*_' 'native socket:.*_socket:.*_/memfd:nbdswap-pool.*_'; do
    read -r which fds <<<"$what"
    try_worker "$which" "$tmp/sleeper"
    wait_until 30 starting
    sleeper=$(worker_pid)
    wait_until 30 in_sleep
    have=
    for ((fd = 3; fd < 20; fd++)); do
        if [ -e "/proc/$sleeper/fd/$fd" ]; then have+=$(readlink "/proc/$sleeper/fd/$fd")_; fi
    done
    must_match "$have" "^$fds\$" "descriptors of $which"
    must_match "$(tr '\0' '\n' <"/proc/$sleeper/environ")" "^LISTEN_PID=$sleeper\$"
    must_match "$(tr '\0' '\n' <"/proc/$sleeper/environ")" '^LISTEN_FDS=1$'
    must_match "$(tr '\0' '\n' <"/proc/$sleeper/environ")" '^MALLOC_ARENA_MAX=1$'
    must_match "$(grep 'Max stack size' "/proc/$sleeper/limits")" 'Max stack size +262144 '
    kill -TERM "$server_pid"
    wait_server || fail "it did not stop in order"
    if kill -0 "$sleeper" 2>/dev/null; then fail "the worker is left behind"; fi
done
