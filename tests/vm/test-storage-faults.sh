#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The storage server fails while a machine swaps: the NFS server is stopped for 20 s and started, the SMB server is killed and
# started: a pause, every word right, no error, the lock held again. And somebody changes files on the server behind our back,
# rolls one back, truncates one, replaces one: errors and a message that names the file, never a wrong page.
#
# The storage server and nbdswapd are one guest with mounts over its loopback interface, because emulated guests are slow.
# shellcheck disable=SC2154,SC2016 # the counts are set by vm_model; quoted commands are for the guest
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/storage.sh"
. "$srcdir/tests/vm/product.sh"
pages=2048

vm_net server client
vm_start server mem=448 disks="data:700"
vm_start client mem=128
vm_wait server client
vm_mkfs server data ext4 /srv/data
vm_serve_nfs server /srv/data
vm_serve_smb server /srv/data
vm_mount_nfs42 server localhost /mnt/nfs
vm_mount_nfs3 server localhost /mnt/nfs3
vm_mount_smb3 server server /mnt/smb
sections=()
# section EXPORT MOUNT SIZE
section() {
    sections+=("[export $1]" "file = /mnt/$2/$1" "size = $3")
}
section swapnfs nfs 264M
section swapsmb smb 264M
section rolled nfs 8M
section truncated nfs 8M
section replaced nfs 8M
section recreated nfs3 8M
swap_configure server "${sections[@]}"
swap_serve server
say "guests are up"

# model EXPORT COMMAND...: sets a variable for each of nbdmodel's counts.
model() {
    local name=$1
    shift
    vm_model server "nbd://localhost/$name" $pages "$@"
}
# on_server COMMAND: what somebody does there.  To stop an NFS server that is in use was seen to take more than 40 s.
on_server() {
    vm_run server 300 "set -e; cd /srv/data; $1" >&2 || fail "guest server: $1"
}
# show_server: what it waits for, where something took too long.
show_server() {
    swap_status server --json | jq -c '.worker, (.exports[] | {name, state, counters})' || true
    vm_run server 60 'for p in $(pgrep "nbdswap|nbdmodel"); do for t in /proc/$p/task/*; do
            echo "$p $(cat $t/comm): $(cat $t/wchan)"; cat $t/stack 2>/dev/null | head -n 6
        done; done; dmesg | tail -n 20' || true
}
# named EXPORT REGEX: the log has it.
named() {
    grep -qE "$1.*($2)" "$tmp/nbdswapd.log"
}
# swapping EXPORT FUNCTION: while a machine swaps on the export, which is more than twice what it needs, so that pages which were
# read in are not written again.
swapping() {
    swap_attach client "nbd://$(vm_ip server)/$1"
    vm_spawn load client "$tmp/load.log" 600 "$swapload --size 128 --processes 2 --rounds 0"
    wait_until 120 grep -qE 'out [0-9]{4,},' "$tmp/load.log"
    "$2"
    # shellcheck disable=SC2154 # set by vm_spawn
    wait "$load" || fail "$1: $(tail -n 5 "$tmp/load.log")"
    tail -n 1 "$tmp/load.log"
    swap_status server --json | jq -c --arg name "$1" '.exports[] | select(.name == $name) | .counters'
    [ "$(swap_count server "$1" errors)" = 0 ] || fail "$1: a request was answered with an error"
    [ "$(swap_count server "$1" lost_pages)" = 0 ] || fail "$1: a page was lost"
    # Something really waited.
    longest=$(sed -n 's/.* longest pause \([0-9]*\) us.*/\1/p' <<<"$(tail -n 1 "$tmp/load.log")")
    ((longest >= pause_ms * 1000)) || fail "$1: the longest pause was $longest us, not $pause_ms ms: the load did not meet the outage"
    swap_detach client
}

# ---- a file that is not what it was: the server is well ----

model rolled write
on_server 'cp rolled rolled.old'
model rolled mix 200
on_server 'dd if=rolled.old of=rolled bs=1M conv=notrunc,fsync status=none'
model rolled read
((unreadable > 100 && right > 100)) || fail "rolled back: what changed since is to be an error, the rest is to be there"
wait_until 10 named rolled 'page'
say "rolled back: $unreadable pages are an error, $right are right"
model rolled write
model rolled read
((right == pages)) || fail "rolled back: not all right after every page was written anew"

model truncated write
# dd and not truncate: that opens without waiting, and fails while the server takes back a delegation.
on_server 'dd of=truncated bs=4M seek=1 count=0 status=none'
model truncated read
((right == pages / 2 && unreadable == pages / 2)) || fail "truncated: half is to be right and half an error"
on_server '[ $(stat -c %s truncated) = 4194304 ]'
model truncated write
model truncated read
((right == pages)) || fail "truncated: not all right after every page was written anew"
say "truncated: errors beyond the end, until the pages there are written, which makes the file longer again"

# The server keeps a removed file as long as it has it open, on NFSv3 for the lock's sake: the pages are there, and the daemon says ALARM
# at its next look. (A restart of nfsd alone does not change that here, because client and server share the guest's lockd.)
model recreated write
on_server 'head -c $(stat -c %s recreated) /dev/urandom >new; rm recreated; mv new recreated'
model recreated read
((right == pages)) || fail "recreated: the pages are to be there as long as the server has the file"

# ---- the file system is not exported for a while, which is refused access: requests are held until it is ----

vm_spawn mixing server "$tmp/mix.log" 300 "$nbdmodel nbd://localhost/rolled /run/model-rolled $pages mix 6000"
wait_until 30 swap_count_reaches server rolled in_flight 1
on_server 'exportfs -ua'
wait_until 60 swap_count_reaches server rolled held 1
on_server 'exportfs -ra'
# shellcheck disable=SC2154 # set by vm_spawn
for ((n = 0; n < 240; n++)); do # a tenth of which was enough wherever it was seen
    kill -0 "$mixing" 2>/dev/null || break
    sleep 1
done
! kill -0 "$mixing" 2>/dev/null || show_server
wait "$mixing" || fail "not exported for a while: $(cat "$tmp/mix.log")"
must_match "$(cat "$tmp/mix.log")" ' write_errors=0 read_errors=0 .* wrong=0 ' "what a client saw of it"
wait_until 30 named rolled 'goes on after'
say "not exported for a while: $(tail -n 1 "$tmp/mix.log")"

# ---- the NFS server is away for 20 s; one file is another when it is back ----

model replaced write
on_server 'cp replaced replaced.old'
model replaced mix 60
nfs_outage() {
    on_server 'rpc.nfsd 0'
    say "the NFS server is stopped"
    on_server 'mv replaced.old replaced'
    sleep 20
    vm_nfsd server
    say "the NFS server is started"
}
pause_ms=15000
swapping swapnfs nfs_outage
! vm_ofd_lock server /srv/data/swapnfs 2>/dev/null || fail "the lock was not taken again"
say "20 s without the NFS server: a pause of $((longest / 1000)) ms"

model replaced read
((right == 0 && unreadable == pages)) || fail "replaced: every page is to be an error"
wait_until 30 named replaced 'LOST.*another file'
say "replaced while it was away: every page is an error"

# ---- the SMB server is killed ----

smb_outage() {
    on_server 'kill -KILL $(pgrep -x smbd)'
    say "the SMB server is killed"
    sleep 5
    on_server 'smbd -D -s /etc/vm-smb.conf'
    say "the SMB server is started"
}
pause_ms=4000
swapping swapsmb smb_outage
say "5 s without the SMB server: a pause of $((longest / 1000)) ms"

# It was not in the way of anything; but nobody must take it for what it was.
wait_until 120 named recreated 'no longer safe to swap on'
wait_until 120 named truncated 'had 8[0-9]* bytes when it was activated'
swap_serve_end
named truncated 'not ended cleanly.*its trailer is not written' || fail "truncated: ended as if nothing had been"
on_server '[ $(stat -c %s truncated) = 8388608 ]'
! vm_run server 120 "$nbdswapctl check /mnt/nfs/truncated" >"$tmp/out" 2>&1 || fail "truncated: fit for use: $(cat "$tmp/out")"
for guest in client server; do
    # While a server holds requests for long it reads no more, and the client's TCP gives a connection up whose window is shut for 20 s.
    vm_dmesg_clean $guest 'nbd[0-9]+: (Dead connection, failed to find a fallback|(Receive|Send) (data|control) failed)'
    vm_stop $guest
done
