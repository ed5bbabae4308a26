#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A guest swaps over a plain nbd-client, which would not survive a lost connection, while the worker that serves it is killed again and
# again: its memory stays right, and its kernel says nothing at all.  NBDSWAP_LONG=1: 200 kills (else 30).
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/engine/resume.sh"
requires_resume
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/product.sh"

most=30
[ -z "${NBDSWAP_LONG:-}" ] || most=200
resume_conf '[export swap]' 'size = 256M'
start_server
wait_until 120 export_is swap ready
vm_start client mem=128 user=1
vm_wait client
vm_run client 60 'set -e; modprobe nbd max_part=0; sysctl -qw vm.min_free_kbytes=16384' || fail "the guest is not ready"
vm_run client 60 "set -e; nbd-client -N swap -swap -block-size 4096 10.0.2.2 $(port) /dev/nbd0; mkswap /dev/nbd0; swapon /dev/nbd0" \
    >"$tmp/attach" 2>&1 || fail "$(cat "$tmp/attach")"
say "swap is on"

# Work of more than its memory, until it is told to stop.
vm_put client /run/work 700 <<EOF2
#!/bin/sh
while [ ! -e /run/stop ]; do
    $swapload --size 160 --processes 2 --rounds 0 || exit 1
done
EOF2
vm_spawn work client "$tmp/work" 3600 /run/work
swaps() { [ "$(field '.exports[].counters|.writes + .reads')" -gt "$1" ]; }
wait_until 120 swaps 100
# What an emulated processor on a busy machine makes a kernel say is not about its swap.
dmesg_of() { vm_run client 60 dmesg | { grep -vE 'hrtimer: interrupt took|clocksource|workqueue: .* hogged CPU' || true; }; }
dmesg_of >"$tmp/dmesg.before"

while ((kills < most)); do
    before=$(field '.exports[].counters|.writes + .reads')
    rest $((1005 + RANDOM % 200))
    kill_worker
    # Every other time once more, while it swaps on or the successor is about to begin.
    ((kills % 2)) || { rest $((RANDOM % 100)); kill_worker; }
    wait_until 60 worker_ready
    # shellcheck disable=SC2154 # set by vm_spawn
    kill -0 "$work" 2>/dev/null || fail "the guest's work has ended: $(cat "$tmp/work")"
    wait_until 60 swaps "$before"
done
say "$kills kills"
vm_run client 60 'touch /run/stop'
wait "$work" || fail "the guest's memory: $(cat "$tmp/work")"
must_match "$(tail -n 1 "$tmp/work")" '^swapload: OK, .* pswpout=[0-9]{4,} pswpin=[0-9]{3,} ' "the memory test"
echo "$(grep -c '^swapload: OK' "$tmp/work") rounds of work; $(tail -n 1 "$tmp/work")"
dmesg_of >"$tmp/dmesg.after"
cmp "$tmp/dmesg.before" "$tmp/dmesg.after" || fail "the guest's kernel said: $(diff "$tmp/dmesg.before" "$tmp/dmesg.after")"
sessions=$(grep -c 'session [0-9]* of .* from ' "$log")
[ "$sessions" = 1 ] || fail "$sessions sessions were begun"
if grep ' is cut: ' "$log"; then fail "the session was cut"; fi
vm_run client 120 'swapoff /dev/nbd0 && nbd-client -d /dev/nbd0' || fail "swap does not go off"
vm_stop client
