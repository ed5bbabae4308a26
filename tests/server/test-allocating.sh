#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# While one export is being allocated the others serve, it is refused with how far it is, and a stop interrupts it; the next start goes on
# with it.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
[ "$(df --output=avail -B1M "$tmp" | tail -1)" -gt 8192 ] || skip "needs 8 GiB of free space"

make_conf '[export small]' '[export large]' 'size = 4G'
start_server
wait_until 30 export_is small ready
nbdinfo "$(uri small)" >"$tmp/out" || fail "an export that is ready cannot be had beside one that is not"
wait_until 30 export_is large allocating
if nbdinfo "$(uri large)" >"$tmp/out" 2>&1; then fail "an export was given out while it is being allocated"; fi
must_match "$(cat "$log")" 'refused to unix: export "large" is being allocated, [0-9]+ %; try again'
must_match "$(ctl status)" '^large +allocating [0-9]+% '
if out=$(ctl activate large 2>&1); then fail "a second activation beside the first"; fi
must_match "$out" 'is being allocated'
kill -TERM "$server_pid"
wait_server || fail "exit status $?"
rc=0
"$builddir/server/nbdswapctl" check "$tmp/large.swap" >"$tmp/out" || rc=$?
[ "$rc" = 4 ] || fail "half an allocation passes the check"
must_match "$(cat "$tmp/out")" 'fail +trailer .*interrupted after [0-9]+ %'
first=$(sed -n 's/.*interrupted after \([0-9]*\) %.*/\1/p' "$tmp/out")

start_server
wait_until 60 export_is large allocating
begins_at=$(field '.exports[1]|.allocated*100/.allocate|floor')
((begins_at >= first)) || fail "it began again at $begins_at %, not from $first %"
must_match "$(timeout 300 "$builddir/server/nbdswapctl" stop --socket "$tmp/control"; echo "rc $?")" 'rc 0'
wait_server || fail "exit status $?"
