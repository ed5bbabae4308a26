#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A machine swaps, and its connection is lost again and again, for nbdkit serves it and is killed: the watch connects it anew each time, also after it
# was killed itself.  Its memory stays right, and its kernel sees no I/O error.

. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/engine/resume.sh"
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/product.sh"

ENGINE=nbdkit
most=${KILLS:-8}
resume_conf '[export swap]' 'size = 256M'
start_server
wait_until 120 export_is swap ready
vm_start client mem=128 user=1
vm_wait client
vm_run client 60 'modprobe nbd max_part=0; sysctl -qw vm.min_free_kbytes=16384'
vm_run client 120 "$nbdswap attach --loopback-i-know nbd://10.0.2.2:$(port)/swap" || fail "no attach"
vm_run client 60 'pgrep -af nbdswap-watch; cat /run/nbdswap/nbd0.json'
vm_run client 60 '[ $(pgrep -xc nbdswap-watch) = 2 ]' || fail "the watch is not two processes"
say "swap is on"
vm_spawn work client "$tmp/work" 900 "$swapload --size 160 --processes 2 --rounds 2"
wait_until 120 grep -qE 'out [0-9]{3,},' "$tmp/work"
worker_kills=0
while ((worker_kills < most)); do
    before=$(worker_pid)
    kill -KILL "$before"
    worker_kills=$((worker_kills + 1))
    # Every other time a process of the watch is killed, too.
    ((worker_kills % 2)) || vm_run client 60 'kill -KILL $(pgrep -x nbdswap-watch | shuf -n 1)'
    changed() { worker_ready && [ "$(worker_pid)" != "$before" ]; }
    wait_until 60 changed
    n=$(field '.exports[].counters|.writes + .reads')
    more() { [ "$(field '.exports[].counters|.writes + .reads')" -gt $((n + 20)) ] || ! kill -0 "$work" 2>/dev/null; }
    wait_until 120 more
done
say "$worker_kills kills"
# shellcheck disable=SC2154 # set by vm_spawn
wait "$work" || fail "the memory: $(tail -n 5 "$tmp/work")"
tail -n 1 "$tmp/work"
must_match "$(tail -n 1 "$tmp/work")" '^swapload: OK, .* pswpout=[0-9]{4,} pswpin=[0-9]{3,} ' "the memory test"
vm_run client 60 'dmesg | grep -E "nbdswap-watch|nbd0" | tail -n 40'
vm_run client 60 '[ $(pgrep -xc nbdswap-watch) = 2 ]' || fail "the watch is not two processes any more"
vm_run client 120 "$nbdswap detach --all" || fail "no detach"
vm_run client 60 dmesg | { ! grep -E 'I/O error|Read-error|Write-error'; } || fail "errors in the guest's dmesg"
vm_stop client
