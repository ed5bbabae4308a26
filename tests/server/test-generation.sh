#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The generation that a client has an export under: it is told, and with it the client comes back, after any end that kept its pages, but never
# once they were lost, or another client has had the export.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires qemu-io --version
requires nbdinfo --version
requires command -v nbdsh

make_conf '[export ws1]' '[export ws2]' 'description = the second, ä'
start_server
wait_until 60 export_is ws1 ready
wait_until 60 export_is ws2 ready

restart() {
    ctl stop
    wait_server || fail "it did not stop in order"
    start_server
    wait_until 60 export_is ws1 ready
}
# use EXPORT CLIENT [GENERATION]: as a client that swaps does, for the moment; what it is told in $told.
use() {
    local client=$2${3:+%26${3/&/%26}}
    qemu-io -f raw -c 'write -P 0x5c 0 1M' "$(uri "$1" "$client")" >"$tmp/io" 2>&1 || return 1
    told=$(nbdinfo --json "$(uri "$1" "$client")" | jq -r '.exports[0].description')
}
use ws1 machine-A || fail "machine-A: $(cat "$tmp/io")"
must_match "$told" '^gen=[1-9][0-9]*&lease=[1-9][0-9]*$'
first=$told
use ws2 machine-A || fail "machine-A: $(cat "$tmp/io")"
must_match "$told" '^the second, ä gen=[1-9][0-9]*&lease=[1-9][0-9]*$'

comes_back() { use ws1 "$1" "$2" && [ "$told" = "$2" ]; }
# not CLIENT GENERATION REGEX: it cannot come back, and the log says why.
not() {
    ! use ws1 "$1" "$2" || fail "$1 came back under $2"
    must_match "$(tail -n 3 "$log")" "$3"
}
comes_back machine-A "$first" || fail "machine-A: not the same at once: $told"
not machine-A "${first/gen=/gen=1}" 'ws1.* has lost what client machine-A swapped out: .*must not resume'
not machine-A "${first/lease=/lease=1}" 'ws1.* has passed to another client.*must not resume'
not machine-B "$first" 'ws1.* has passed to another client, machine-A .*must not resume'

# Its worker dies, the daemon is restarted.
kill -KILL "$(worker_pid)"
wait_until 60 export_is ws1 ready
wait_until 60 worker_ready
wait_until 60 comes_back machine-A "$first"
restart
comes_back machine-A "$first" || fail "machine-A, after a restart: $told $(cat "$tmp/io")"

# Another client has it, and leaves.
use ws1 machine-B || fail "machine-B: $(cat "$tmp/io")"
[ "$told" != "$first" ] || fail "the same generation for another client"
[ "${told%&*}" = "${first%&*}" ] || fail "another content for another client: $told"
second=$told
not machine-A "$first" 'ws1.* has passed to another client, machine-B '
restart
not machine-A "$first" 'ws1.* has passed to another client '
comes_back machine-B "$second" || fail "machine-B, after a restart: $told"

# A question is no use of it.
if [ "${ENGINE:-native}" = native ]; then
    PATH=/usr/bin:$PATH nbdsh --opt-mode -c "h.connect_uri('$(uri ws1 machine-C)')" -c 'h.opt_info()' -c 'h.opt_abort()' >"$tmp/out" 2>&1 ||
        fail "machine-C: $(cat "$tmp/out")"
    comes_back machine-B "$second" || fail "machine-B, after a question of another: $told"
fi
# Nor is a look (gen=0): it tells what there is, and who only looked is not waited for.
looks() { nbdinfo --json "$(uri ws1 "$1%26gen=0%26lease=0")" | jq -r '.exports[0].description'; }
[ "$(looks machine-C)" = "$second" ] || fail "a look: $(looks machine-C), not $second"
comes_back machine-B "$second" || fail "machine-B, after a look of another: $told"
hold_open ws1 'machine-C%26gen=0%26lease=0' &
hold=$!
is_there() { client_is ws1 machine-C; }
wait_until 30 is_there
kill -KILL "$(pgrep -P $hold -x qemu-io)"
kill "$hold" 2>/dev/null || true
wait "$hold" 2>/dev/null || true
SECONDS=0
wait_until 10 comes_back machine-B "$second"

# The daemon dies: the pages are lost.
kill -KILL "$server_pid"
wait "$server_pid" 2>/dev/null || true
start_server
wait_until 60 export_is ws1 ready
not machine-B "$second" 'ws1.* has lost what client machine-B swapped out'
