#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The main job: a machine without a disk attaches an export of nbdswapd, works with more memory than it has, finds
# every page as it left it, detaches, and leaves nothing behind. A clean stop and start of the server in between
# keeps the swap area: attach finds its label and does not make it anew.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/storage.sh"
. "$srcdir/tests/vm/product.sh"

vm_net server client
vm_start server mem=256 disks="data:320"
vm_start client mem=128
vm_wait server client
vm_mkfs server data ext4 /srv/swap
swap_configure server '[export ws1]' 'file = /srv/swap/ws1' 'size = 208M'
say "guests are up"
swap_serve server
say "the export is ready"
swap_status server

swap_attach client "nbd://$(vm_ip server)/ws1"
say "attached"
before=$(vm_run server 120 'stat -c "%b %s" /srv/swap/ws1; filefrag -s /srv/swap/ws1')
uuid=$(vm_run client 120 'swaplabel /dev/nbd0')
swap_work client 192 3 1 600
say "worked"
status=$(vm_run client 120 "$nbdswap status --json")
must_match "$status" '"ws1|/ws1"'
after=$(vm_run server 120 'stat -c "%b %s" /srv/swap/ws1; filefrag -s /srv/swap/ws1')
[ "$before" = "$after" ] || fail "the backing file changed under writes: $before, then $after"
swap_detach client
say "detached"

swap_serve_end
swap_serve server
swap_attach client "nbd://$(vm_ip server)/ws1"
[ "$(vm_run client 120 'swaplabel /dev/nbd0')" = "$uuid" ] || fail "the swap area was made anew after a clean restart"
swap_detach client
swap_serve_end
say "once more after a restart"

vm_dmesg_clean client
vm_dmesg_clean server
vm_stop client
vm_stop server
