#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The server's machine has no swap and a hog takes all of its memory and keeps it, while page cache is turned over as
# well: what a write needs was reserved at activation, so the client's work still finishes, and no process of the
# server is killed.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/storage.sh"
. "$srcdir/tests/vm/product.sh"

vm_net server client
vm_start server mem=256 disks="data:320 cache:256"
vm_start client mem=128
vm_wait server client
vm_mkfs server data ext4 /srv/swap
swap_configure server '[export ws1]' 'file = /srv/swap/ws1' 'size = 208M'
swap_serve server
swap_attach client "nbd://$(vm_ip server)/ws1"
say "attached"

vmstat() {
    vm_run server 120 "awk '\$1 ~ /^(allocstall|pgscan_direct\$|oom_kill)/ { n[\$1 ~ /oom/ ? \"killed\" : \$1 ~ /pgscan/ ? \"scanned\" : \"stalls\"] += \$2 }
        END { print n[\"stalls\"], n[\"scanned\"], n[\"killed\"] }' /proc/vmstat"
}
processes() {
    vm_run server 120 'pgrep -x nbdswapd; pgrep -x nbdkit; pgrep -x nbdswap-engine; true'
}
before_processes=$(processes)
read -r stalls scanned _ < <(vmstat)
vm_spawn hog server "$tmp/hog.log" 600 "$builddir/tests/vm/memhog 8"
wait_until 300 grep -q starved "$tmp/hog.log"
vm_spawn churn server "$tmp/churn.log" 600 "sh -c 'while :; do cat /dev/disk/by-id/virtio-cache >/dev/null; done'"
say "the server's machine is starved"

swap_work client 192 2 0 600
# A question to a starved machine may take longer than any limit: the counters and the processes are looked at when it is over.
# shellcheck disable=SC2154 # set by vm_spawn
kill -TERM "$churn" "$hog"
wait "$churn" "$hog" || true
read -r stalls_now scanned_now killed < <(vmstat)
say "on the server: $((stalls_now - stalls)) allocations stalled, $((scanned_now - scanned)) pages scanned, $killed killed"
[ $((scanned_now - scanned)) -gt 0 ] || fail "the server was not short of memory: no direct reclaim"
[ "$(processes)" = "$before_processes" ] || fail "a process of the server was replaced"
swap_detach client
swap_serve_end
vm_dmesg_clean client
vm_stop client
vm_stop server
