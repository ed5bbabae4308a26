#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# One export, one client: several connections of one are fine, a second client is refused until the first has gone.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires qemu-io --version
requires nbdinfo --version

make_conf '[export ws1]' '[export ws2]'
start_server
wait_until 60 export_is ws1 ready
wait_until 60 export_is ws2 ready

hold_open ws1 machine-A
nbdinfo "$(uri ws1 machine-A)" >"$tmp/out" || fail "a second connection of the same client"
refused() { ! nbdinfo "$(uri ws1 "$1")" >"$tmp/out" 2>&1; }
refused machine-B || fail "a second client was let in"
must_match "$(cat "$log")" 'export "ws1" is in use by client machine-A .* since 20[0-9-]+ [0-9:]+ UTC'
refused '' || fail "a client without an id was let in"
nbdinfo "$(uri ws2 machine-B)" >"$tmp/out" || fail "another export is refused too"
must_match "$(ctl status)" '^ws1 +ready .*machine-A +1 '

# Not to be taken away under it.
for cmd in "stop" "activate ws1 --rewrite"; do
    rc=0
    # shellcheck disable=SC2086
    out=$(ctl $cmd 2>&1) || rc=$?
    [ "$rc" != 0 ] || fail "$cmd was not refused"
    must_match "$out" 'ws1.* in use by client machine-A' "$cmd"
done

# The worker dies: the export is kept for its client.
kill -KILL "$(worker_pid)"
wait_until 60 export_is ws1 ready
wait_until 60 worker_ready
refused machine-B || fail "another client took the export in the pause"
must_match "$(cat "$log")" 'export "ws1" is kept for client machine-A'
back() { nbdinfo "$(uri ws1 machine-A)" >"$tmp/out" 2>&1; }
wait_until 10 back # within the 15 s
let_go machine-A
free() { nbdinfo "$(uri ws1 machine-B)" >"$tmp/out" 2>&1; }
wait_until 30 free

# A stop by force cuts the client, and every page is there afterwards.
printf 'write -P 0x5c 0 1M\n' | qemu-io -f raw "$(uri ws1 machine-B)" >"$tmp/out"
hold_open ws1 machine-C
must_match "$(ctl stop --force; echo "rc $?")" 'rc 0'
wait_server || fail "exit status $?"
let_go machine-C
start_server
wait_until 60 export_is ws1 ready
must_match "$(printf 'read -P 0x5c 0 1M\n' | qemu-io -f raw "$(uri ws1 machine-C)" 2>&1)" 'read 1048576/1048576 bytes'
if grep -q 'did not end cleanly' "$log"; then fail "a stop by force was not a clean one"; fi
