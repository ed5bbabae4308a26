#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A machine swaps while its server freezes for 20 s, its link is down for longer than a connection lives, and its watch is killed before that: its memory stays
# right, its kernel sees no I/O error, and it goes on soon after.  Then the server loses its table: the machine does not resume on what comes after.
# NBDSWAP_LONG=1: the link is down for 45 s (else 25).
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/storage.sh"
. "$srcdir/tests/vm/product.sh"
. "$srcdir/tests/vm/riding.sh"
# shellcheck disable=SC2016 # for the guest

down=25
[ -z "${NBDSWAP_LONG:-}" ] || down=45
vm_net server client
vm_start server mem=256 disks="data:320"
vm_start client mem=128
vm_wait server client
vm_mkfs server data ext4 /srv/swap
swap_configure server '[export ws1]' 'file = /srv/swap/ws1' 'size = 208M'
say "guests are up"
swap_serve server
swap_attach client "nbd://$(vm_ip server)/ws1"
ride_watch_is_whole client
ride_begin client 120
ride_mark
say "swap is on and in use"

# Its connection is not made anew when it thaws soon enough; when it does not, the watch finds another.
vm_monitor server stop
sleep 20
vm_monitor server cont
ride_on client
ride_mark
say "server frozen for 20 s: the longest pause was $ride_ms ms"
((ride_ms > 5000)) || fail "frozen: nothing waited for it"

vm_run client 60 'kill -KILL $(pgrep -x nbdswap-watch | shuf -n 1)'
vm_link client server off
sleep $down
vm_link client server on
ride_on client
ride_mark
say "a process of the watch killed, then the link down for $down s: the longest pause was $ride_ms ms"
((ride_ms >= (down - 10) * 1000)) || fail "link: nothing waited for it"
ride_watch_is_whole client
vm_run client 60 'dmesg | grep -c "goes on over a new connection"' >"$tmp/out" || fail "the watch made no connection"

ride_end client
vm_dmesg_clean server

# The server loses what it knew of the pages: another generation, on which nothing resumes.  (What programs of the client would say is not asked: pages of
# theirs may be on that device.)
vm_run server 60 'kill -KILL $(pgrep -x nbdswapd) $(pgrep -x nbdswap-engine)'
wait "$_swap_server" || true
swap_serve server
wait_until 120 grep -q 'nbd0: OVER: .*gen=' "$vm_dir/client/console"
say "another generation: not resumed, and told"
vm_kill client
vm_kill server
