#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A request that is in hand each time the worker crashes does not take everybody down with it for ever: at the third crash in a row its
# session is cut, and others go on.  Kills from outside (SIGKILL) are not held against it.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/engine/resume.sh"
requires_resume
requires test -x "$builddir/server/nbdswap-engine-fault"
ulimit -c 0

# The engine with a backend that can be told to hang.
mkdir "$tmp/bin"
cp "$builddir/server/nbdswap-engine-fault" "$tmp/bin/nbdswap-engine"
export NBDSWAP_FAULTS="rw.read:hang,trigger=$tmp/stuck"
resume_conf '[export poison]' '[export bystander]'
sed -i "s|^native = .*|native = $tmp/bin/nbdswap-engine|" "$conf"
start_server
for name in poison bystander; do wait_until 60 export_is "$name" ready; done
uri() { printf 'nbd://127.0.0.1:%s/%s%s' "$(port)" "$1" "${2:+%3Fclient%3D$2}"; }
nbdcmd=$builddir/tests/plugin/nbdcmd
hold_open bystander idle
timeout 30 "$nbdcmd" "$(uri poison)" write 64k 8k 1

# stuck_read: a read of the page is in the worker's hands; the client's pid is in $reader.
stuck_read() {
    touch "$tmp/stuck"
    "$nbdcmd" "$(uri poison)" read 64k 8k 1 >"$tmp/read" 2>&1 &
    reader=$!
    cleanup_fn end_process "$reader"
    wait_until 30 in_hand
}
in_hand() { [ "$(field '.exports[]|select(.name=="poison")|.counters.in_flight')" = 1 ]; }

# crash SIGNAL: and until there is a successor.  One that has served for a second is replaced at once.
crash() {
    rest 1050
    find_worker
    kill -s "$1" "$worker"
    wait_until 30 another_worker "$worker"
}
another_worker() { [ "$(worker_pid)" != "$1" ] && worker_ready; }
goes_on() { grep -c 'sessions go on, 0 were cut' "$log"; }
went_on() { [ "$(goes_on)" -gt "$1" ]; }

stuck_read
for ((n = 0; n < 4; n++)); do
    before=$(goes_on || true)
    crash KILL
    wait_until 30 went_on "$before"
done
for ((n = 0; n < 2; n++)); do
    before=$(goes_on || true)
    crash ABRT
    wait_until 30 went_on "$before"
done
rm "$tmp/stuck"
wait "$reader" || fail "after four kills and two crashes: $(cat "$tmp/read")"

# Answered, so the next one is counted from the beginning.
stuck_read
for ((n = 0; n < 2; n++)); do
    before=$(goes_on || true)
    crash ABRT
    wait_until 30 went_on "$before"
done
crash ABRT
cut() { grep -qE 'export poison: session [0-9]+ of .* is cut: its requests? .*in hand' "$log"; }
wait_until 30 cut
if wait "$reader"; then fail "its client was not told"; fi
rm "$tmp/stuck"
client_is bystander idle || fail "the other client's session is gone"
[ "$(grep -c ' is cut: ' "$log")" = 1 ] || fail "other sessions were cut"
let_go idle
if grep -i 'error' "$tmp/held.idle.out"; then fail "the other client saw an error"; fi
timeout 30 "$nbdcmd" "$(uri poison)" read 64k 8k 1
