#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A machine swaps, and its connection is lost again and again: nbdkit serves it and is killed, the watch is killed, both its processes are, and the connection is one
# that nbd-client made.  Its memory stays right, and its kernel sees no I/O error.  NBDSWAP_LONG=1: 150 kills (else 6).
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/engine/resume.sh"
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/product.sh"
. "$srcdir/tests/vm/riding.sh"
# shellcheck disable=SC2016 # for the guest

ENGINE=nbdkit
most=6
[ -z "${NBDSWAP_LONG:-}" ] || most=150
resume_conf '[export swap]' 'size = 256M'
start_server
wait_until 120 export_is swap ready
vm_start client mem=128 user=1
vm_wait client
vm_run client 60 'modprobe nbd max_part=0; sysctl -qw vm.min_free_kbytes=16384'
uri=nbd://10.0.2.2:$(port)/swap
attach() { vm_run client 120 "$nbdswap attach --loopback-i-know $* $uri" 2>"$tmp/attach.log" || fail "$* does not attach: $(cat "$tmp/attach.log")"; }
status() { vm_run client 60 "$nbdswap status --json" | jq -e ".[0]$1"; }
reconnects() { vm_run client 60 'dmesg | grep -c "goes on over a new connection" || true'; }
# lose_connection: the machine's kernel is told to end it at once, as by a reset.
lose_connection() {
    local before
    before=$(reconnects)
    vm_run client 60 "ss -K dst 10.0.2.2 dport = $(port)" >"$tmp/out" || fail "ss: $(cat "$tmp/out")"
    more() { (($(reconnects) > before)); }
    wait_until 60 more
}
sessions() { grep -c 'session [0-9]* of .* from ' "$log"; }
attach
sessions_before=$(sessions)
ride_watch_is_whole client
ride_begin client 160
ride_mark
say "swap is on and in use"

worker_kills=0
while ((worker_kills < most)); do
    before=$(worker_pid)
    kill -KILL "$before"
    worker_kills=$((worker_kills + 1))
    # Every other time a process of the watch is killed, too.
    ((worker_kills % 2)) || vm_run client 60 'kill -KILL $(pgrep -x nbdswap-watch | shuf -n 1)'
    changed() { worker_ready && [ "$(worker_pid)" != "$before" ]; }
    wait_until 60 changed
    ride_on client
done
ride_mark
say "$worker_kills kills of nbdkit, half of them with one of the watch: the longest pause was $ride_ms ms, $(reconnects) connections"
# One each, and no more.
(($(sessions) == sessions_before + most)) || fail "$(($(sessions) - sessions_before)) sessions were begun"
ride_watch_is_whole client

ride_end client

# Both processes at once (stopped first, or the second makes another before its turn comes): nothing happens, and another watch takes over.
status '.watched == true' >"$tmp/out" || fail "it is not watched"
vm_run client 60 'p=$(pgrep -x nbdswap-watch); kill -STOP $p; kill -KILL $p'
wait_until 30 status '.watched == false'
reads() { vm_run client 60 'dd if=/dev/nbd0 of=/dev/null bs=4096 count=1 skip=$((RANDOM)) iflag=direct status=none' || fail "the device is not read"; }
reads
must_match "$(vm_run client 120 "$nbdswap watch")" '^nbd0 is watched now$' "nbdswap watch"
reads
wait_until 60 status '|.link == "up" and .watched'
must_match "$(vm_run client 120 "$nbdswap watch")" '^nbd0 is watched$' "nbdswap watch once more"
lose_connection
reads
say "both processes of the watch killed, another started, the connection lost"
vm_run client 120 "$nbdswap detach --all" || fail "no detach"
wait_until 30 vm_run client 60 '! pgrep -x nbdswap-watch'

# A connection that nbd-client made is replaced by one that is watched.
attach --via nbd-client
vm_run client 60 '! pgrep -x nbd-client' || fail "nbd-client is still there"
[ "$(field '.exports[].sessions')" = 1 ] || fail "$(field '.exports[].sessions') sessions"
ride_begin client 160
before=$(worker_pid)
kill -KILL "$before"
wait_until 60 changed
ride_on client
lose_connection
ride_on client
ride_mark
say "attached by nbd-client, a kill and a lost connection: the longest pause was $ride_ms ms"
ride_end client
vm_run client 120 "$nbdswap detach --all" || fail "no detach"
vm_stop client
