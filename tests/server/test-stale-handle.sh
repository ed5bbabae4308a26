#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Under the daemon: a stale handle is opened anew by the daemon and handed to the worker; a held write does not keep the
# daemon from ending, and its pages keep their old content; a file that is another one makes the export lost, which status
# says and an activation mends.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
nbdcmd=$builddir/tests/plugin/nbdcmd
[ -e "$builddir/.libs/nbdkit-swapfault-plugin.so" ] || fail "the plugin with faults was not built"
[ -e "$builddir/server/nbdswap-engine-fault" ] || fail "the engine with faults was not built"

export NBDSWAP_FAULTS="rw.*:errno=ESTALE,trigger=$tmp/stale;rw.*:errno=ETIMEDOUT,trigger=$tmp/slow"
said() { grep -qE -- "$1" "$log"; }
client() {
    timeout 120 "$nbdcmd" "$(uri a me)" "$@" >"$tmp/client" 2>&1 &
    client=$!
}
good() { wait "$client" || fail "$1: $(cat "$tmp/client")"; }
held() { [ "$(field '.exports[]|select(.name=="a")|.counters.held')" -ge "$1" ]; }
# has_lock PID FILE: its one descriptor of the file is of the description that has the lock.
has_lock() {
    local fd
    fd=$(find "/proc/$1/fd" -lname "$2")
    [ "$(wc -w <<<"$fd")" = 1 ] || fail "process $1 has not one descriptor of the file: $fd"
    grep -q '^lock:.*OFDLCK.*WRITE' "/proc/$1/fdinfo/${fd##*/}"
}

make_conf '[export a]' 'retry-time = 600' '[export b]'
sed -i 's,nbdkit-swap-plugin,nbdkit-swapfault-plugin,; s,/nbdswap-engine$,&-fault,' "$conf"
start_server
wait_until 60 export_is a ready
wait_until 60 export_is b ready
timeout 60 "$nbdcmd" "$(uri a me)" write 0 1M 7

# ---- the same file ----
touch "$tmp/stale"
client read 0 1M 7 write 1M 64k 8
wait_until 30 said 'a: its handle was stale; the file was opened anew and is the same'
rm "$tmp/stale"
good "requests over a stale handle"
timeout 60 "$nbdcmd" "$(uri a me)" read 0 1M 7 read 1M 64k 8
for p in "$server_pid" "$(worker_pid)"; do
    has_lock "$p" "$tmp/a.swap" || fail "process $p has a description without the lock"
done

# ---- a held write does not keep the daemon from ending; its pages are what they were ----
touch "$tmp/slow"
client write 0 128k 9
wait_until 30 held 1
seconds=$SECONDS
kill -TERM "$server_pid"
wait_server || fail "it did not end well: $?"
echo "ended in $((SECONDS - seconds)) s with a write held"
wait "$client" && fail "a write that was not done was acknowledged"
rm "$tmp/slow"
start_server
wait_until 60 export_is a ready
timeout 60 "$nbdcmd" "$(uri a me)" read 0 1M 7

# ---- another file ----
cp --preserve=all "$tmp/a.swap" "$tmp/copy"
mv "$tmp/copy" "$tmp/a.swap"
cp "$tmp/a.swap" "$tmp/before"
touch "$tmp/stale"
timeout 60 "$nbdcmd" "$(uri a me)" expect EIO read 0 4k 7 expect EIO write 0 4k 1 expect EIO trim 0 4k
rm "$tmp/stale"
wait_until 30 export_is a lost
must_match "$(field '.exports[]|select(.name=="a")|.error')" 'a.swap: is another file now'
must_match "$(ctl status)" 'a: .*its file was lost while it was in use'
must_match "$(cat "$log")" 'error: EXPORT a IS LOST, every request is answered with an error: .*another file now'
out=$(timeout 60 "$nbdcmd" "$(uri a me)" read 0 4k 7 2>&1) && fail "a lost export was served"
must_match "$(cat "$log")" 'refused to .*export "a" is lost'
cmp "$tmp/before" "$tmp/a.swap" || fail "a file that is not the export's was written to"
timeout 60 "$nbdcmd" "$(uri b me)" write 0 1M 3 read 0 1M 3 # others go on
export_is b ready || fail "another export is no longer ready"
free() { ctl activate a; }
wait_until 60 free # once its client is known to be gone
wait_until 30 export_is a ready
timeout 60 "$nbdcmd" "$(uri a me)" write 0 1M 4 read 0 1M 4
kill -TERM "$server_pid"
wait_server || fail "it did not end well: $?"
