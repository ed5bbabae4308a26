#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A machine swaps, and its export moves to another server machine and back, again and again: the watch finds it each time, memory stays right, and the
# kernel sees no I/O error.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/engine/resume.sh"
. "$srcdir/tests/server/two.sh"
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/product.sh"
requires_resume

moves=${MOVES:-4}
two_conf '[export swap]' 'size = 256M'
start_server
wait_until 120 export_is swap ready
start_B
vm_start client mem=128 user=1
vm_wait client
vm_run client 60 'modprobe nbd max_part=0; sysctl -qw vm.min_free_kbytes=16384'
vm_run client 120 "$nbdswap attach --loopback-i-know --server 10.0.2.2:$(field_B '.listen[0]' | sed 's/.*://') nbd://10.0.2.2:$(port)/swap" ||
    fail "no attach"
say "swap is on"
vm_spawn work client "$tmp/work" 900 "$swapload --size 160 --processes 2 --rounds 2"
wait_until 240 grep -qE 'out [0-9]{3,},' "$tmp/work"
# requests A|B: answered there.
requests() {
    case $1 in
    A) field '.exports[].counters|.writes + .reads' ;;
    B) field_B '.exports[].counters|.writes + .reads' ;;
    esac
}
from=A to=B
for ((i = 1; i <= moves; i++)); do
    # shellcheck disable=SC2154 # set by vm_spawn
    kill -0 "$work" 2>/dev/null || fail "the load ended before move $i: $(cat "$tmp/work")"
    if [ $from = A ]; then
        { ctl deactivate swap && ctl_B activate swap; } || fail "move $i to B"
    else
        { ctl_B deactivate swap && ctl activate swap; } || fail "move $i to A"
    fi
    n=$(requests $to)
    more() { [ "$(requests $to)" -gt $((n + 50)) ] || ! kill -0 "$work" 2>/dev/null; }
    wait_until 120 more
    say "moved to $to"
    swap=$from from=$to to=$swap
done
wait "$work" || fail "the memory: $(tail -n 5 "$tmp/work")"
tail -n 1 "$tmp/work"
must_match "$(tail -n 1 "$tmp/work")" '^swapload: OK, .* pswpout=[0-9]{4,} pswpin=[0-9]{3,} ' "the memory test"
vm_run client 60 'dmesg | grep nbdswap-watch: | tail -n 40' >"$tmp/watch"
cat "$tmp/watch"
[ "$(grep -c 'goes on over a new connection' "$tmp/watch")" -ge "$moves" ] || fail "it was not moved $moves times"
must_match "$(vm_run client 60 "$nbdswap status" || true)" ' up$' "status"
vm_run client 120 "$nbdswap detach --all" || fail "no detach"
vm_run client 60 dmesg | { ! grep -E 'I/O error|Read-error|Write-error'; } || fail "errors in the guest's dmesg"
vm_stop client
