#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdswapd without a service manager keeps itself: killed, it is back; its exit codes, signals and standard streams are as without the keeper.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
unset NOTIFY_SOCKET
daemon_options=()

# the_daemon: its pid.  A test that fails leaves none behind.
the_daemon() { pgrep -P "$server_pid" -x nbdswapd | tee -a "$tmp/daemons"; }
end_daemons() {
    local pid
    while read -r pid; do
        ! grep -qs -- "$conf" "/proc/$pid/cmdline" || kill -KILL "$pid"
    done <"$tmp/daemons"
}
cleanup_fn end_daemons
gone() { ! kill -0 "$1" 2>/dev/null; }

# ---- what is wrong from the start is said once, with its own exit code ----
rc=0
printf '[server]\nnonsense = 1\n' >"$tmp/bad.conf"
timeout 20 "$nbdswapd" --config "$tmp/bad.conf" >"$tmp/out" 2>&1 || rc=$?
[ "$rc" = 3 ] || fail "a wrong configuration: exit status $rc, not 3: $(cat "$tmp/out")"
make_conf '[export a]'
start_server
[ "$(readlink "/proc/$server_pid/exe")" = "$(readlink -f "$nbdswapd")" ] || fail "what was started is another program"
daemon=$(the_daemon)
[ -n "$daemon" ] || fail "there is no daemon below the keeper"
[ "$(field .pid)" = "$daemon" ] || fail "the daemon is another process"
rc=0
sed "s|^listen.*|listen = unix:$tmp/other.sock|" "$conf" >"$tmp/second.conf"
timeout 20 "$nbdswapd" --config "$tmp/second.conf" >"$tmp/out" 2>&1 || rc=$?
[ "$rc" = 6 ] || fail "a control socket in use: exit status $rc, not 6: $(cat "$tmp/out")"

# ---- locked, by name ----
if [ -z "$sanitizer" ] && [ "$(id -u)" = 0 ]; then
    eval "$(awk '/^(Pss|Locked):/ { print tolower(substr($1, 1, length($1) - 1)) "=" $2 }' "/proc/$server_pid/smaps_rollup")"
    # shellcheck disable=SC2154
    ((locked > 0 && locked + 256 >= pss)) || fail "only $locked of $pss KiB of the keeper are locked"
    echo "keeper: $locked KiB locked of $pss, in $(awk '/^VmRSS/ { print $2 }' "/proc/$server_pid/status") with what is shared"
    rc=0
    if [ "$(ulimit -l)" = unlimited ]; then limit=8192; else limit=$(ulimit -l); fi
    (
        ulimit -l "$limit"
        timeout 20 setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock "$nbdswapd" --config "$tmp/second.conf"
    ) >"$tmp/out" 2>&1 || rc=$?
    [ "$rc" = 8 ] || fail "without CAP_IPC_LOCK: exit status $rc, not 8: $(cat "$tmp/out")"
    must_match "$(cat "$tmp/out")" 'CAP_IPC_LOCK .*RLIMIT_MEMLOCK .*allow=memlock'
fi

# ---- killed, it is back ----
wait_until 60 export_is a ready
for ((n = 0; n < 3; n++)); do
    old=$(the_daemon)
    kill -KILL "$old"
    another() { worker_ready && [ "$(field .pid)" != "$old" ] && export_is a ready; }
    wait_until 60 another
    [ "$(pgrep -c -P "$server_pid")" = 1 ] || fail "the keeper has more than one daemon"
done
must_match "$(cat "$log")" "keeper: the daemon \($old\) was ended by signal 9; the next one is started in [0-9]+ ms"

# ---- signals: a reload, a stop ----
printf '[export b]\n' >>"$conf"
kill -HUP "$server_pid"
wait_until 60 export_is b ready
daemon=$(the_daemon)
worker=$(worker_pid)
kill -TERM "$server_pid"
wait_server || fail "SIGTERM: exit status $?"
gone "$daemon" || fail "the daemon outlived a stop in order"
wait_until 30 gone "$worker" # whose parent is another by now
for left in nbd.sock control; do [ ! -e "$tmp/$left" ] || fail "$left is left behind"; done

# ---- nbdswapctl stop is for good ----
start_server
ctl stop || fail "stop"
wait_server || fail "stop: exit status $?"

# ---- the keeper is killed: the daemon goes on, and says so when it has something to say ----
start_server
wait_until 60 export_is a ready
daemon=$(the_daemon)
kill -KILL "$server_pid"
wait "$server_pid" 2>/dev/null || true
worker=$(worker_pid)
kill -KILL "$worker"
replaced() { worker_ready && [ "$(worker_pid)" != "$worker" ]; }
wait_until 60 replaced
[ "$(field .pid)" = "$daemon" ] || fail "it is another daemon"
wait_until 30 grep -q 'whoever is to start this daemon again .* is not there: Connection refused; it goes on without' "$log"
ctl stop || fail "stop without the keeper"
wait_until 60 gone "$daemon"

# ---- told otherwise, or under a service manager ----
daemon_options=(--no-keeper)
start_server
[ "$(field .pid)" = "$server_pid" ] || fail "--no-keeper: the daemon is not what was started"
kill -TERM "$server_pid"
wait_server || fail "SIGTERM: exit status $?"
