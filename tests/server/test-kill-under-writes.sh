#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The worker is killed again and again in the middle of writes, sealed or not: it comes back each time, pages whose write was in flight
# can be written again, and what was acknowledged before is there.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires nbdcopy --version

head -c 4194304 /dev/urandom >"$tmp/steady"
head -c 67108864 /dev/urandom >"$tmp/data"
write_it() { timeout 60 nbdcopy --requests=64 "$tmp/data" "$(uri busy)" >>"$tmp/out" 2>&1; }
under_way() { [ "$(field '.exports[1].counters.writes')" -gt "$writes" ]; }
# On a busy machine the worker mostly waits for its client: it is killed at an instant when it has something in hand.
stopped_in_flight() {
    kill -STOP "$worker"
    [ "$(field '.exports[1].counters.in_flight')" -gt 0 ] && return
    kill -CONT "$worker"
    return 1
}
restarted() { worker_ready && [ "$(field .worker.restarts)" -gt "$before" ]; }

seals=(none aes-256-gcm)
! could_swap || seals=(none) # keys are not handed down here
for seal in "${seals[@]}"; do
    rm -f "$tmp"/*.swap
    make_conf '[export steady]' "seal = $seal" '[export busy]' 'size = 64M' "seal = $seal"
    start_server
    wait_until 60 export_is steady ready
    wait_until 60 export_is busy ready
    nbdcopy "$tmp/steady" "$(uri steady)"
    # Until a write was really cut in flight: not every kill meets one.
    for ((n = 1; n <= 20; n++)); do
        if ((n > 3)) && grep -q 'pages in flight' "$log"; then break; fi
        before=$(field .worker.restarts)
        writes=$(field '.exports[1].counters.writes')
        rm -f "$tmp/enough"
        (while [ ! -e "$tmp/enough" ] && write_it; do :; done) &
        writer=$!
        wait_until 30 under_way
        worker=$(worker_pid)
        wait_until 30 stopped_in_flight
        kill -KILL "$worker"
        touch "$tmp/enough"
        wait "$writer"
        wait_until 60 restarted
        wait_until 60 export_is busy ready
        # What was in flight has arrived or has not: the file tells which, and nothing is lost for it.
        [ "$(field "[.exports[].pages.lost]|add")" = 0 ] || fail "pages are lost though their old or new content is there"
        # (a stale mark of a write in flight would make this wait for ever)
        write_it || fail "what was in flight cannot be written again: $(tail -3 "$tmp/out")"
    done
    must_match "$(cat "$log")" 'export busy: its worker died with [0-9]+ pages in flight'
    for e in steady busy; do
        rm -f "$tmp/copy"
        nbdcopy "$(uri "$e")" "$tmp/copy"
        cmp "$tmp/copy" "$([ "$e" = busy ] && echo "$tmp/data" || echo "$tmp/$e")" || fail "$e is not what was written"
    done
    [ "$(field '[.exports[].pages.lost]|add')" = 0 ] || fail "pages are lost though all were written again"
    stopped() { ctl stop; } # once the sessions have ended
    wait_until 30 stopped
    wait_server || fail "stop: exit status $?"
    : >"$log"
done
