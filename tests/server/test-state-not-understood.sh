#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What a daemon left and its successor does not understand is not used: the worker is ended, pages are lost and not served as they may have been, the
# log says so, and everything begins anew.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/successor.sh"
requires_worker
requires_backing
requires qemu-io --version

resume_conf '[export a]'
start_server
wait_until 60 export_is a ready
uri="nbd://127.0.0.1:$(port)/a%3Fclient%3DA"
must_match "$(printf 'write -P 0x5c 0 64k\nread -P 0x5c 0 64k\n' | timeout 60 qemu-io -f raw "$uri" 2>&1)" 'read 65536/65536'

# damage WHERE: of the text that the keeper keeps.
damage() {
    local fd done=0
    for fd in "/proc/$server_pid/fd"/*; do
        [[ $(readlink "$fd") == *memfd:nbdswap-state* ]] || continue
        printf 'XXXX' | dd of="$fd" bs=1 seek="$1" conv=notrunc status=none
        done=1
    done
    [ "$done" = 1 ] || fail "the keeper keeps no state"
}
begun_anew() { settled && [ "$(worker_pid)" != "$worker" ]; }

worker=$(worker_pid)
the_daemon
kill -STOP "$daemon"
damage 0
kill_daemon
wait_until 90 begun_anew
one_of_each
grep -q 'cannot be taken over (it has another layout).*EVERY PAGE OF ITS EXPORTS IS LOST' "$log" || fail "not said in the log"
[ ! -e "/proc/$worker" ] || grep -q 'State:.*zombie' "/proc/$worker/status" || fail "the old worker lives"
uri="nbd://127.0.0.1:$(port)/a%3Fclient%3DA"
out=$(printf 'read -P 0x5c 0 64k\n' | timeout 60 qemu-io -f raw "$uri" 2>&1) || true
must_match "$out" 'read failed: Input/output error' "a page that was lost"
must_match "$(printf 'write -P 0x5d 0 64k\nread -P 0x5d 0 64k\n' | timeout 60 qemu-io -f raw "$uri" 2>&1)" 'read 65536/65536'

# And what it leaves is understood.
worker=$(worker_pid)
kill_daemon
wait_until 60 settled
[ "$(worker_pid)" = "$worker" ] || fail "another worker after a death that left everything in order"
uri="nbd://127.0.0.1:$(port)/a%3Fclient%3DA"
must_match "$(printf 'read -P 0x5d 0 64k\n' | timeout 60 qemu-io -f raw "$uri" 2>&1)" 'read 65536/65536'
kill -TERM "$server_pid"
wait_server || fail "exit status $?"
