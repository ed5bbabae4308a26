#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The connection is lost while swap is a machine's only way on: the way back must not need the memory that it is there to free.  Machines of 256 and 96 MiB, at
# the kernel's own vm.min_free_kbytes and at the recommended one, both engines.  NBDSWAP_LONG=1: all eight, 10 losses each (else one, 3 losses).
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/engine/resume.sh"
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/product.sh"
. "$srcdir/tests/vm/riding.sh"
# shellcheck disable=SC2016 # for the guest

losses=3
cases=nbdkit:256:default
if [ -n "${NBDSWAP_LONG:-}" ]; then
    losses=10
    cases=$(echo {nbdkit,native}:{256,96}:{default,recommended})
fi
requires ss --version

connections() { grep -c 'session [0-9]* of .* from ' "$log"; }
more() { (($(connections) > connections_before)); }

# lose: the connection is reset at the server's end.
lose() {
    connections_before=$(connections)
    ss -H -K state established sport = "$(port)" >"$tmp/out" 2>&1 || fail "ss: $(cat "$tmp/out")"
    wait_until 120 more
}

for case in $cases; do
    IFS=: read -r ENGINE mib reserve <<<"$case"
    resume_conf '[export swap]' 'size = 512M'
    start_server
    wait_until 120 export_is swap ready
    vm_start client mem=$((mib + 48)) user=1 # the kernel keeps 48 for itself
    vm_wait client
    vm_run client 60 'modprobe nbd max_part=0'
    vm_run client 120 "$nbdswap attach --loopback-i-know nbd://10.0.2.2:$(port)/swap" 2>"$tmp/attach.log" || fail "no attach: $(cat "$tmp/attach.log")"
    # Not before: a small machine has no room for it without swap.
    [ "$reserve" = default ] || vm_run client 60 "$(sed -n 's/.*`\(sysctl -w vm.min_free_kbytes=[0-9]*\)`.*/\1/p' "$tmp/attach.log")" ||
        fail "attach recommends nothing: $(cat "$tmp/attach.log")"
    reserve=$(vm_run client 60 'cat /proc/sys/vm/min_free_kbytes')
    ride_begin client $((mib * 5 / 4))
    ride_mark
    for ((i = 0; i < losses; i++)); do
        lose
        ride_on client
    done
    ride_mark
    say "$ENGINE, $mib MiB, vm.min_free_kbytes=$reserve: $losses connections lost, the longest pause was $ride_ms ms"
    ride_end client
    vm_run client 120 "$nbdswap detach --all" || fail "no detach"
    vm_stop client
    kill -TERM "$server_pid"
    wait_server || fail "nbdswapd did not end in order"
done
