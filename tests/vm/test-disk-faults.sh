#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The server's disk fails, below ext4, by dm-error, dm-flakey and dm-delay: writes and reads fail, writes get lost, what is
# read is damaged, all is slow. A client that knows every page reads what was acknowledged, or an error; a machine that swaps
# loses nothing to failed writes, gets SIGBUS and no wrong word from failed reads, and has the rest when the disk is well again.
# shellcheck disable=SC2154,SC2016 # the counts are set by vm_model; quoted commands are for the guest
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/storage.sh"
. "$srcdir/tests/vm/product.sh"
. "$srcdir/tests/vm/dm.sh"
pages=2048

vm_net server client
vm_start server mem=320 disks="data:352"
vm_start client mem=128
vm_wait server client
dm_create server data faulty
vm_mkfs server faulty ext4 /srv/swap
swap_configure server '[export model]' 'file = /srv/swap/model' 'size = 8M' \
    '[export ws1]' 'file = /srv/swap/ws1' 'size = 264M'
swap_serve server
say "guests are up"

# disk FILE TARGET
disk() {
    dm_fault server faulty "/srv/swap/$1" "$2"
}

# model COMMAND...: sets a variable for each of nbdmodel's counts.
model() {
    vm_model server nbd://localhost/model $pages "$@"
}
# lost: how many pages of the export the server lists.
lost() {
    vm_run server 120 "$nbdswapctl lost --socket /run/nbdswapd.sock --json model" | jq .pages
}

model write
model mix 500
model read
[ "$right" = $pages ] || fail "$right of $pages pages are right on a good disk"

disk model 'delay @ 100'
model mix 200
((write_errors == 0 && read_errors == 0)) || fail "a slow disk gave errors"
((longest_ms >= 100)) || fail "the disk was not slow: $longest_ms ms"
say "a slow disk is a pause"

disk model 'flakey @ 0 3600 1 error_writes'
model mix 400
((write_errors > 100 && read_errors > 0)) || fail "the disk did not fail: $write_errors, $read_errors"
disk model 'linear @'
model read
((old == 0 && unreadable == 0 && lost > 100)) || fail "after failed writes"
[ "$(lost)" = "$lost" ] || fail "nbdswapctl lost lists $(lost) pages, and $lost are lost"
say "failed writes: $lost pages are lost, none is guessed"

disk model 'error'
model mix 400
((write_errors > 50 && read_errors > 50)) || fail "the disk did not fail"
disk model 'linear @'
model write
model read
((right == pages)) || fail "not all right after every page was written anew"
say "a dead disk: errors, and all is right after it"

disk model 'flakey @ 1 1'
tries=0
write_failed=0 read_failed=0
while ((write_failed == 0 || read_failed == 0)); do
    model mix 500
    ((write_failed += write_errors, read_failed += read_errors)) || true
    ((++tries < 60)) || fail "the disk did not fail: $write_failed, $read_failed"
done
disk model 'linear @'
model read
((old == 0 && unreadable == 0)) || fail "after a disk that failed now and then"
model write
say "a disk that failed now and then"

disk model 'flakey @ 0 3600 1 drop_writes'
model mix 300
((write_errors == 0)) || fail "dropped writes were told"
disk model 'linear @'
vm_run server 60 "$nbdswapctl scrub --socket /run/nbdswapd.sock --wait model" >"$tmp/scrub.log" 2>&1 || cat "$tmp/scrub.log"
listed=$(lost)
model read
((unreadable > 100)) || fail "no write was lost"
((unreadable == listed)) || fail "the scrub found $listed pages, and $unreadable are an error"
say "lost writes: $unreadable pages are an error, and the scrub found them"
model write

disk model 'flakey @ 0 3600 5 corrupt_bio_byte 200 w 147 0'
model mix 300
((write_errors == 0)) || fail "damage was told"
disk model 'linear @'
model read
((unreadable > 30)) || fail "only $unreadable pages were damaged" # one of each write
say "damage on the way: $unreadable pages are an error"
model write
model read
((right == pages)) || fail "not all right after every page was written anew"
[ "$(lost)" = 0 ] || fail "pages are listed as lost after they were written anew"

swap_attach client "nbd://$(vm_ip server)/ws1"
# The swap is less than half full, so pages that were read in stay valid there and are not written again: each pass is reads.
vm_spawn load client "$tmp/load.log" 600 "$swapload --size 128 --processes 2 --passes 2"
errors() {
    swap_count server ws1 errors
}
wait_until 120 grep -qE 'out [0-9]{4,},' "$tmp/load.log"
disk ws1 'flakey @ 0 3600 1 error_writes'
wait_until 60 swap_count_reaches server ws1 errors 30
disk ws1 'linear @'
failed=$(errors)
say "$failed swap writes have failed"

wait_until 240 grep -qE 'round 1 of .* in [0-9]{4,},' "$tmp/load.log"
disk ws1 'error'
wait_until 60 swap_count_reaches server ws1 errors $((failed + 100))
disk ws1 'linear @'
now=$(errors)
say "$((now - failed)) swap reads have failed"
# shellcheck disable=SC2154 # set by vm_spawn
wait "$load" || fail "$(tail -n 5 "$tmp/load.log")"
grep -v ' s, ' "$tmp/load.log"
must_match "$(grep 'pass 1:' "$tmp/load.log")" ' [1-9][0-9]* unreadable' "a pass over a disk that failed"
must_match "$(tail -n 2 "$tmp/load.log")" '^swapload: 0 pages unreadable in the last pass' "a pass over a good disk"
swap_detach client
swap_serve_end

vm_dmesg_clean client 'on swap-device|I/O error, dev nbd0'
vm_dmesg_clean server
vm_stop client
vm_stop server
