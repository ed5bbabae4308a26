# SPDX-License-Identifier: BSD-3-Clause
# A clean stop keeps every page; after an unclean one every page is lost until it is written or discarded, and that is said.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1

start_nbdkit file="$disk/l.swap" size=16M
"$nbdcmd" "$uri" write 0 1M 0x33 write 4M 64k 0x44 trim 64k 64k

for signal in TERM HUP INT; do
    stop_nbdkit "$signal"
    : >"$log"
    start_nbdkit file="$disk/l.swap"
    "$nbdcmd" "$uri" read 0 64k 0x33 read 64k 64k 0 read 128k 896k 0x33 read 4M 64k 0x44 read 8M 1M 0
    ! grep -q 'lost' "$log" || fail "SIG$signal: pages lost after a clean stop: $(cat "$log")"
done

stop_nbdkit KILL
: >"$log"
start_nbdkit file="$disk/l.swap"
must_match "$(cat "$log")" "l.swap: its last use did not end cleanly(:|, so) every page is lost"
# Neither the old content nor zeros, for a page that was written and one that never was.
"$nbdcmd" "$uri" expect EIO read 0 4k 0 expect EIO read 12M 4k 0 expect EIO read 0 1M 0
wait_until 10 grep -q 'l.swap: read of page 0: a page is lost' "$log"
"$nbdcmd" "$uri" write 0 64k 5 trim 1M 4k zero 2M 128k read 0 64k 5 read 1M 4k 0 read 2M 128k 0 \
    expect EIO read 64k 4k 0 expect EIO read 60k 8k 0 expect EIO read 1028k 4k 0
# A clean stop keeps lost pages lost.
stop_nbdkit
start_nbdkit file="$disk/l.swap"
"$nbdcmd" "$uri" read 0 64k 5 read 1M 4k 0 expect EIO read 64k 4k 0 trim 0 16M read 0 16M 0

# The mark is durable before the first write: killed without any.
stop_nbdkit
start_nbdkit file="$disk/l.swap"
stop_nbdkit KILL
start_nbdkit file="$disk/l.swap"
"$nbdcmd" "$uri" expect EIO read 0 4k 0
