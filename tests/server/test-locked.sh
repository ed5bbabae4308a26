#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Without CAP_IPC_LOCK the daemon refuses by name, unless told otherwise; with it, it is locked.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires setpriv --version
requires jq --version
[ "$(id -u)" = 0 ] || skip "needs root"
[ -z "$sanitizer" ] || skip "sanitizers turn mlockall off"
[ "$(ulimit -l)" != unlimited ] || ulimit -l 8192

make_conf
rc=0
timeout 20 setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock "$nbdswapd" --no-keeper --config "$conf" >"$tmp/out" 2>&1 || rc=$?
[ "$rc" = 8 ] || fail "exit status $rc, not 8: $(cat "$tmp/out")"
must_match "$(cat "$tmp/out")" 'CAP_IPC_LOCK .*RLIMIT_MEMLOCK .*allow=memlock'
[ ! -e "$tmp/control" ] || fail "it made a control socket all the same"

server_lines='allow = memlock'
make_conf
setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock "$nbdswapd" --no-keeper --config "$conf" 2>"$log" &
server_pid=$!
cleanup_fn end_process "$server_pid"
cleanup_fn show_log
wait_until 30 control_there
wait_until 30 worker_ready
must_match "$(cat "$log")" 'warning: .*CAP_IPC_LOCK'
end_process "$server_pid"

server_lines=
make_conf
start_server
# Locked is counted in proportion where pages are shared, as Pss is.
eval "$(awk '/^(Pss|Locked):/ { print tolower(substr($1, 1, length($1) - 1)) "=" $2 }' "/proc/$server_pid/smaps_rollup")"
# shellcheck disable=SC2154
((locked > 0 && locked + 256 >= pss)) || fail "only $locked of $pss KiB are locked"
