#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The native worker is locked into memory itself; without the right to that it does not serve, though its daemon is locked, and says what it
# needs.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
export ENGINE=native
requires_worker
requires_backing
requires setpriv --version
requires jq --version
[ "$(id -u)" = 0 ] || skip "needs root"
[ -z "$sanitizer" ] || skip "sanitizers turn mlockall off"

make_conf '[export ws1]'
start_server
wait_until 60 export_is ws1 ready
# Locked is counted in proportion where pages are shared, as Pss is; one look, for the shares change when other processes end.
eval "$(awk '/^(Pss|Locked):/ { print tolower(substr($1, 1, length($1) - 1)) "=" $2 }' "/proc/$(worker_pid)/smaps_rollup")"
# shellcheck disable=SC2154
((locked > 1024 && locked + 256 >= pss)) || fail "only $locked of the worker's $pss KiB are locked"
end_process "$server_pid"

native=$(sed -n 's/^native = //p' "$conf")
cat >"$tmp/unlocked" <<EOF
#!/bin/sh
ulimit -l 64
exec setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock "$native" "\$@"
EOF
chmod 755 "$tmp/unlocked"
sed -i "s|^native = .*|native = $tmp/unlocked|" "$conf"
: >"$log"
launch_server
refused() { grep -qE 'CAP_IPC_LOCK .*RLIMIT_MEMLOCK .*allow=memlock' "$log"; }
wait_until 60 refused
[ "$(field .worker.state)" != ready ] || fail "a worker that is not locked serves"
