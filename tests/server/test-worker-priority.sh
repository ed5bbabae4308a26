#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The worker's threads go before other processes, as far as priority= says; where that is refused the log says so, and all else goes on.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_backing
requires setpriv --version

# One number, when all of the worker's threads have the same nice value.
nices() { ps -L -o ni= -p "$(worker_pid)" | sort -u | tr -d ' '; }

[ "$(nice)" = 0 ] || skip "these tests run with nice $(nice)"
nice -n -1 true 2>/dev/null && [ "$(nice -n -1 nice 2>/dev/null)" = -1 ] || skip "needs the right to raise priorities"
for wanted in '' 3 0; do
    server_lines=${wanted:+priority = $wanted}
    make_conf '[export ws1]'
    start_server
    wait_until 60 export_is ws1 ready
    [ "$(nices)" = "$((-${wanted:-15}))" ] || fail "priority ${wanted:-by default}: nice $(nices)"
    [ "$(ps -o ni= -p "$server_pid" | tr -d ' ')" = 0 ] || fail "the daemon has another nice value"
    end_process "$server_pid"
done

server_lines=
make_conf '[export ws1]'
nbdswapd_was=$nbdswapd
printf '#!/bin/sh\nulimit -e 0 2>/dev/null\nexec setpriv --bounding-set -sys_nice --inh-caps -sys_nice "%s" "$@"\n' "$nbdswapd_was" >"$tmp/without"
chmod 755 "$tmp/without"
nbdswapd=$tmp/without
start_server
wait_until 60 export_is ws1 ready
[ "$(nices)" = 0 ] || fail "nice $(nices) without the right to it"
must_match "$(grep priority "$log")" 'cannot be raised; CAP_SYS_NICE is needed \(systemd: LimitNICE=-20\), or priority=0'
