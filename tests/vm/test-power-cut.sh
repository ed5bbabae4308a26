#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The server's power fails under a machine that swaps, again and again.  Its disk has a volatile cache (volatile.c): what was not flushed is there
# or not.  With survive = host that is a pause, every page that was acknowledged is right, and the client's kernel sees no error; with process every
# page is an error, and none is wrong: what needs one ends by SIGBUS.  And that a disk that ignores flushes is found out.
# shellcheck disable=SC2154 # right, unreadable and the like come from vm_model
. "${srcdir:-.}/tests/functions.sh" || exit 1
requires jq --version
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/storage.sh"
. "$srcdir/tests/vm/product.sh"

volatile=$builddir/.libs/nbdkit-volatile-plugin.so
[ -e "$volatile" ] || fail "$volatile was not built"
cuts=2 rounds=0 pages=2048
[ -z "${NBDSWAP_LONG:-}" ] || cuts=20 rounds=12

nbdkit -f -v -U "$tmp/disk.sock" "$volatile" size=448M flush-ms=3 lies="$tmp/lies" seed="$RANDOM" 2> >(grep --line-buffered cut: >"$tmp/cuts") &
cleanup_fn end_process "$!"
wait_until 30 test -S "$tmp/disk.sock"

vm_net server client
server() {
    vm_start server mem=320 nbd="disk:$tmp/disk.sock"
    vm_wait server
}
serve() {
    swap_configure server '[defaults]' 'file = /srv/ext4/%n.swap' '[export swap]' 'size = 144M' 'survive = host' \
        '[export kept]' 'size = 16M' 'survive = host' '[export gone]' 'size = 16M' '[export process]' 'size = 144M'
    swap_serve server
}
server
vm_start client mem=192
vm_mkfs server disk ext4 /srv/ext4
serve
vm_wait client
model() { vm_model client "nbd://10.77.0.1/$1%3Fclient%3Dmodel-$1" $pages "${@:2}"; }
for x in kept gone; do
    model $x write
    model $x mix 300
    [ "$write_errors" = 0 ] || fail "$x: a write failed"
done
say "pages are written"

# cut COMMAND...: in the midst of random writes to kept and gone; and the machine comes back.
cut() {
    local x pids=() pid n
    for x in kept gone; do
        n=$(swap_count server $x writes)
        vm_spawn pid client "$tmp/mix-$x" 600 \
            "$nbdmodel nbd://10.77.0.1/$x%3Fclient%3Dmodel-$x /run/model-$x%3Fclient%3Dmodel-$x $pages mix 1000000"
        pids+=("$pid")
        wait_until 240 swap_count_reaches server $x writes $((n + 10))
    done
    vm_kill server
    # (Nothing is started in the client meanwhile: it may have no memory for that until its swap is back.)
    for pid in "$_swap_server" "${pids[@]}"; do end_process "$pid"; done
    cutting=$SECONDS
    "$@"
    server
    vm_run server 60 'mkdir -p /srv/ext4; mount -t ext4 /dev/disk/by-id/virtio-disk /srv/ext4' >&2 || fail "the file system is gone"
    serve
    say "the server is back after $((SECONDS - cutting)) s; $(tail -n 1 "$tmp/cuts" | sed 's/.*debug: //')"
}

swap_attach client nbd://10.77.0.1/swap
vm_spawn work client "$tmp/work" 1200 "$swapload --size 150 --processes 2 --rounds $rounds"
wait_until 300 grep -qE 'out [0-9]{3,},' "$tmp/work"
say "swap is in use"
for ((i = 0; i < cuts; i++)); do
    kill -0 "$work" 2>/dev/null || break
    cut
    must_match "$(cat "$tmp/nbdswapd.log")" 'export kept: its last use did not end cleanly; it goes on'
    must_match "$(cat "$tmp/nbdswapd.log")" 'export gone: its last use did not end cleanly, so every page is lost'
    model kept read
    [ "$unreadable" = 0 ] || fail "$unreadable pages of survive = host are lost that were acknowledged"
    [ "$((right + lost))" = "$pages" ] || fail "$right right and $lost lost of $pages pages"
    [ "$lost" -le 256 ] || fail "$lost pages are lost, more than can have been under way"
    model gone read
    [ "$right" = 0 ] || fail "$right pages of survive = process were read after its table was gone"
    for x in kept gone; do model $x write; done
    n=$(swap_count server swap reads)
    more() { swap_count_reaches server swap reads $((n + 20)) || ! kill -0 "$work" 2>/dev/null; }
    wait_until 120 more
done
wait "$work" || fail "the memory: $(tail -n 5 "$tmp/work")"
tail -n 1 "$tmp/work"
must_match "$(tail -n 1 "$tmp/work")" '^swapload: OK, .* pswpout=[0-9]{4,} pswpin=[0-9]{4,} ' "the memory test"
vm_run client 60 dmesg | { ! grep -E 'I/O error|Read-error|Write-error'; } || fail "errors in the client's dmesg"
swap_detach client
[ "$i" -gt 0 ] || fail "the memory test ended before the first cut"
say "$i cuts were ridden through"

# A disk that ignores flushes: this must be seen.
cut touch "$tmp/unused" # with all in order once more
model kept read
[ "$unreadable" = 0 ] || fail "$unreadable pages are lost"
model kept write
touch "$tmp/lies"
cut rm "$tmp/lies"
# Pages that are lost, or are what they were before: whoever believes such a disk has nothing that could tell.
out=$(vm_run client 120 "$nbdmodel nbd://10.77.0.1/kept%3Fclient%3Dmodel-kept /run/model-kept%3Fclient%3Dmodel-kept $pages read") || true
must_match "$out" ' (unreadable|wrong)=[1-9]' "a disk that ignores flushes"
say "a disk that ignored flushes: $(tail -n 1 <<<"$out")"

# (The rest of what the client has in that swap is gone as well, so nothing of it is asked afterwards.)
swap_attach client nbd://10.77.0.1/process
vm_spawn work client "$tmp/work" 1200 "$swapload --size 150 --processes 2 --rounds 1"
wait_until 300 grep -qE 'out [0-9]{3,},' "$tmp/work"
cut
wait_until 120 grep -q 'nbd0: OVER: .*gen=' "$vm_dir/client/console"
rc=0
wait "$work" || rc=$?
# It may be one of its processes, which it tells, or itself.
[ "$rc" = 3 ] || [ "$rc" = $((128 + 7)) ] || fail "the memory test: exit code $rc, and SIGBUS should be: $(tail -n 5 "$tmp/work")"
if grep -i wrong "$tmp/work"; then fail "a wrong word"; fi
say "survive = process: SIGBUS (exit code $rc), no wrong word"
vm_kill client
vm_stop server
