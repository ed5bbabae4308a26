#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A stale handle: the file is opened anew and clients notice a pause; a file that is away is waited for; a file that is another one
# is not touched, and the export is lost, loudly.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
plugin=$builddir/.libs/nbdkit-swapfault-plugin.so
[ -e "$plugin" ] || fail "$plugin was not built"
export NBDSWAP_FAULTS="rw.*:errno=ESTALE,trigger=$tmp/on"
on() { touch "$tmp/on"; }
off() { rm -f "$tmp/on"; }
said() { grep -qE -- "$1" "$log"; }
client() {
    timeout 120 "$nbdcmd" "$uri" "$@" >"$tmp/client" 2>&1 &
    client=$!
}
good() {
    wait "$client" || fail "$1: $(cat "$tmp/client")"
}
file=$disk/s.swap

# ---- the same file, again and again while the handle is stale ----
start_nbdkit file="$file" size=16M
"$nbdcmd" "$uri" write 0 1M 7
on
client flush read 0 1M 7 write 1M 1M 8 flush
wait_until 30 said 's.swap: its handle was stale; the file was opened anew and is the same'
off
good "requests over a stale handle"
"$nbdcmd" "$uri" read 0 1M 7 read 1M 1M 8 flush
fd=$(find "/proc/$pid/fd" -lname "$file")
[ "$(wc -w <<<"$fd")" = 1 ] || fail "descriptors are left over: $(ls -l "/proc/$pid/fd")"
grep -q '^lock:.*OFDLCK.*WRITE' "/proc/$pid/fdinfo/${fd##*/}" || fail "the file is not locked any more"

# ---- away for a while ----
on
mv "$file" "$disk/away"
client read 0 1M 7
wait_until 30 said 'held until the file has been opened anew|s.swap: cannot open it'
wait_until 30 said 's.swap: cannot open it: No such file'
off
sleep 1.2 # the handle is good again, the file is still not there: nothing may be read or written without its lock
kill -0 "$client" 2>/dev/null || fail "a read was answered while the file was away: $(cat "$tmp/client")"
mv "$disk/away" "$file"
good "a read while the file was away"
stop_nbdkit
start_nbdkit file="$file"
"$nbdcmd" "$uri" read 0 1M 7 read 1M 1M 8

# ---- another file at the path: a copy, trailer and all ----
: >"$log"
cp --preserve=all "$file" "$disk/copy"
mv "$disk/copy" "$file"
cp "$file" "$tmp/before"
on
client expect EIO read 0 4k 7 expect EIO write 0 4k 9 expect EIO trim 0 4k expect EIO flush
good "requests of a lost export"
off
wait_until 10 said 'nbdkit: error: s.swap: THE EXPORT IS LOST: .*s.swap: is another file now .inode'
"$nbdcmd" "$uri" expect EIO read 0 4k 7 expect EIO write 0 4k 9 expect EIO trim 0 4k expect EIO flush
stop_nbdkit
cmp "$tmp/before" "$file" || fail "a file that is not the export's was written to"
must_match "$(cat "$log")" 'was lost while it was in use, so nothing is written to it'
