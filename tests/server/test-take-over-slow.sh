#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A client whose writes hang at the backend takes over its own slot with a second connection, while its requests are at the backend, wait
# behind these, or lie in the old socket still: nothing of the old connection lands over what the new one wrote.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version

if [ -n "${NBDSWAP_LONG:-}" ]; then
    # The client's patience 2 s, the backend's delay 7 s, 10,000 times, in 20 slots at once.
    delay=7000 patience=2000 repeats=500 slots=20 size=1000M seconds=30000
else
    delay=400 patience=100 repeats=8 slots=2 size=4M seconds=300
fi
export NBDSWAP_FAULTS="rw.write:delay=$delay,trigger=$tmp/slow;rw.write:errno=ETIMEDOUT,trigger=$tmp/away"
make_conf '[export a]' "size = $size"
faulty_worker
start_server
wait_until 600 export_is a ready

# slot I: its URI.
slot() {
    printf 'nbd+unix:///a%%3Fclient%%3Dme%%26slot%%3D%s%%2F%s?socket=%s/nbd.sock' "$1" "$slots" "$tmp"
}
sessions_are() { [ "$(field '.exports[0].sessions')" = "$1" ]; }
size_of_worker() {
    awk '$1 == "VmRSS:" { print $2 }' "/proc/$(worker_pid)/status"
}
descriptors() {
    find "/proc/$(worker_pid)/fd" -mindepth 1 | wc -l
}

# What a first connection costs is there before.
timeout 60 "$builddir/tests/server/takeover" "$(slot 0)" 0 1 0 true true 0
wait_until 30 sessions_are 0
before=$(size_of_worker)
open=$(descriptors)
for ((i = 0; i < slots; i++)); do
    # The trigger of one slot is the trigger of all: some of what is written again is slow too.
    timeout "$seconds" "$builddir/tests/server/takeover" "$(slot $i)" $((i * repeats * 20)) "$repeats" "$patience" \
        "touch $tmp/slow" "rm -f $tmp/slow" "$delay" >"$tmp/slot.$i" &
    clients[i]=$!
done
for ((i = 0; i < slots; i++)); do
    wait "${clients[i]}" || fail "slot $i: $(cat "$tmp/slot.$i")"
    cat "$tmp/slot.$i"
    must_match "$(cat "$tmp/slot.$i")" ' resent=[1-9][0-9]* stale=0$' "slot $i"
done
wait_until 30 sessions_are 0
[ "$(field .worker.restarts)" = 0 ] || fail "the worker has ended"
after=$(size_of_worker)
echo "the worker has $before KiB before and $after after, $open descriptors and $(descriptors)"
((after < before + 8192)) || fail "the worker has grown"
[ "$(descriptors)" = "$open" ] || fail "descriptors are left over"
[ "$(field '.exports[0].counters.in_flight')" = 0 ] || fail "requests are left over"
[ "$(field '[.exports[].pages.lost]|add')" = 0 ] || fail "pages are lost"

# A client dies with its requests held: all its threads find that out at once, which nbdkit alone does not survive each time.
held() { [ "$(field '.exports[0].counters.held')" -ge 8 ]; }
for ((i = 0; i < 15; i++)); do
    "$builddir/tests/server/takeover" "$(slot 0)" 0 1 60000 "touch $tmp/away" true 0 >"$tmp/dying" 2>&1 &
    client=$!
    wait_until 30 held
    kill -KILL "$client"
    wait "$client" || true
    wait_until 30 sessions_are 0
    [ "$(field .worker.restarts)" = 0 ] || fail "the worker has ended with its client: $(grep worker "$log")"
done
