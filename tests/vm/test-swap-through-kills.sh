#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A guest swaps over a plain nbd-client, which would not survive a lost connection, while the worker that serves it is killed again and again, then the
# daemon, then both at once, and both are replaced: its memory stays right, its one connection goes on, and its kernel says nothing at all.
# NBDSWAP_LONG=1: each for five minutes, the worker every 2 s, the daemon every 5 s.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/successor.sh"
requires_resume
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/product.sh"
. "$srcdir/tests/vm/riding.sh"

worker_kills=20 other_kills=5
[ -z "${NBDSWAP_LONG:-}" ] || worker_kills=150 other_kills=60
# What is killed comes back within this (ms); an emulated processor on a busy machine is slow, so the targets are not asked for here.
limit=10000
resume_conf '[export swap]' 'size = 256M'
start_server
wait_until 120 export_is swap ready
vm_start client mem=128 user=1
vm_wait client
vm_run client 60 'set -e; modprobe nbd max_part=0; sysctl -qw vm.min_free_kbytes=16384' || fail "the guest is not ready"
vm_run client 60 "set -e; nbd-client -N swap -swap -block-size 4096 10.0.2.2 $(port) /dev/nbd0; mkswap /dev/nbd0; swapon /dev/nbd0" \
    >"$tmp/attach" 2>&1 || fail "$(cat "$tmp/attach")"
ride_begin client 160
say "swap is in use"
# What an emulated processor on a busy machine makes a kernel say is not about its swap.
dmesg_of() { vm_run client 60 dmesg | { grep -vE 'hrtimer: interrupt took|clocksource|workqueue: .* hogged CPU' || true; }; }
dmesg_of >"$tmp/dmesg.before"

# The worker may be anybody's child: of a daemon, or of the keeper after that.
find_worker() {
    local end=$((SECONDS + 60))
    while ((SECONDS < end)); do
        worker=$(ours nbdswap-engine | head -n 1)
        [ -z "$worker" ] || return 0
    done
    fail "there is no worker for 60 s"
}
requests() { field '.exports[].counters|.writes + .reads'; }
swaps() { settled && [ "$(requests)" -gt "$1" ]; }
# goes_on FROM: the machine swaps on, and nobody is there twice.
goes_on() {
    kill -0 "$ride_work" 2>/dev/null || fail "the guest's work has ended: $(tail -n 5 "$tmp/work")"
    wait_until 60 swaps "$1"
    one_of_each
}
pause_of() {
    ride_mark
    say "$1: the longest pause was $ride_ms ms"
    ((ride_ms < limit)) || fail "$1: a pause of $ride_ms ms"
}
ride_mark

while ((kills < worker_kills)); do
    before=$(requests)
    rest $((1005 + RANDOM % 200))
    kill_worker
    # Every other time once more, while it swaps on or the successor is about to begin.
    ((kills % 2)) || { rest $((RANDOM % 100)); kill_worker; }
    goes_on "$before"
done
pause_of "$kills kills of the worker"

for ((n = 0; n < other_kills; n++)); do
    before=$(requests)
    rest $((RANDOM % 1000))
    kill_daemon
    [ -z "${NBDSWAP_LONG:-}" ] || rest 4000
    goes_on "$before"
done
pause_of "$daemon_kills kills of the daemon"

for ((n = 0; n < other_kills; n++)); do
    before=$(requests)
    rest $((RANDOM % 1000))
    find_worker
    the_daemon
    kill -KILL "$daemon" "$worker"
    [ -z "${NBDSWAP_LONG:-}" ] || rest 4000
    goes_on "$before"
done
pause_of "$other_kills kills of both at once"

for ((n = 0; n < 2; n++)); do
    before=$(requests)
    ctl reload-worker --wait || fail "reload-worker"
    goes_on "$before"
    before=$(requests)
    ctl upgrade || fail "upgrade"
    goes_on "$before"
done
pause_of "2 new workers and 2 new daemons"

dmesg_of >"$tmp/dmesg.after"
cmp "$tmp/dmesg.before" "$tmp/dmesg.after" || fail "the guest's kernel said: $(diff "$tmp/dmesg.before" "$tmp/dmesg.after")"
ride_end client
sessions=$(grep -c 'session [0-9]* of .* from ' "$log")
[ "$sessions" = 1 ] || fail "$sessions sessions were begun"
if grep -E ' is cut: |LOST|lost until' "$log"; then fail "the session was cut, or pages were lost"; fi
vm_run client 120 'swapoff /dev/nbd0 && nbd-client -d /dev/nbd0' || fail "swap does not go off"
vm_stop client
