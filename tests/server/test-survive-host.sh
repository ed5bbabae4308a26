#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# survive = host: daemon and worker end at once without a word, with writes under way; every page that was acknowledged is there when they
# are back, the generation is the same, and the client that had it is waited for.  (What an end of the machine's power takes with it besides: test-power-cut.)
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires qemu-io --version
requires nbdinfo --version

# Where one cannot be promised to survive, it is refused.
make_conf '[export a]' 'survive = host' 'check = none' '[export b]' 'survive = host' 'seal = aes-256-gcm' '[export c]'
start_server
wait_until 60 export_is c ready
must_match "$(cat "$log")" 'export a is not active: .*survive = host: without checks'
could_swap || must_match "$(cat "$log")" 'export b is not active: .*survive = host: pages sealed with an ephemeral key'
ctl stop
wait_server || fail "it did not stop in order"

head -c 32 /dev/urandom >"$tmp/key"
chmod 600 "$tmp/key"
sealed=(seal=aes-256-gcm "key-file=$tmp/key")
could_swap && sealed=()
make_conf '[export ws1]' 'survive = host' '[export ws2]' 'survive = host' "${sealed[@]/=/ = }" '[export ws3]'
start_server
for x in ws1 ws2 ws3; do wait_until 60 export_is $x ready; done
[ "$(field '.exports[]|select(.name=="ws1")|.rules.survive')" = host ] || fail "status does not say host"

# use EXPORT COMMAND...: as machine-A, in the place of its device, and what it is told.
use() {
    local x=$1 command
    local -a c=()
    shift
    for command; do c+=(-c "$command"); done
    qemu-io -t none -f raw "${c[@]}" "$(uri "$x" machine-A%26slot%3D0%2F1)" >"$tmp/io" 2>&1 || return 1
    ! grep -q failed "$tmp/io"
}
told() { nbdinfo --json "$(uri "$1" machine-A)" | jq -r '.exports[0].description'; }
head -c 64k /dev/urandom >"$tmp/random"
dump() { qemu-io -t none -f raw -c 'read -v 64k 64k' "$(uri "$1" machine-A)" | grep -E '^[0-9a-f]{8}:'; }

fill() {
    use "$1" 'write -P 0x5c 0 64k' "write -s $tmp/random 64k 64k" 'write -P 0x11 1M 64k' 'discard 1M 4k' 'write -z 1028k 4k'
}
right() {
    use "$1" 'read -P 0x5c 0 64k' 'read -P 0 1M 8k' 'read -P 0x11 1032k 56k' 'read -P 0 2M 64k' || return 1
    dump "$1" | cmp - "$tmp/dump"
}
declare -A generation
for x in ws1 ws2 ws3; do
    fill $x || fail "$x: $(cat "$tmp/io")"
    generation[$x]=$(told $x)
done
dump ws1 >"$tmp/dump"
[ "$(wc -l <"$tmp/dump")" = 4096 ] || fail "the dump has $(wc -l <"$tmp/dump") lines"

writes='.exports[]|select(.name=="ws1")|.counters.writes'
more_writes() { [ "$(field "$writes")" -gt $((before + 10)) ]; }
die() {
    local worker
    worker=$(worker_pid)
    # In the midst of writes of another part.
    while qemu-io -t none -f raw -c 'write -P 0x77 3M 512k' -c 'write -P 0x78 3584k 512k' "$(uri ws1 machine-A)"; do :; done >/dev/null 2>&1 &
    writer=$!
    before=$(field "$writes")
    wait_until 30 more_writes
    kill -KILL "$server_pid" "$worker"
    wait "$server_pid" "$writer" 2>/dev/null || true
    start_server
    for x in ws1 ws2 ws3; do wait_until 60 export_is $x ready; done
}
for _ in 1 2 3; do
    die
    must_match "$(cat "$log")" 'export ws1: its last use did not end cleanly; it goes on with what its records tell'
    # It is kept for the one who had it.
    ! qemu-io -f raw -c 'read 0 4k' "$(uri ws1 machine-B)" >"$tmp/io" 2>&1 || fail "machine-B got what is kept for machine-A"
    must_match "$(cat "$log")" 'ws1.* is kept for client machine-A'
    for x in ws1 ws2; do
        right $x || fail "$x, after the end: $(cat "$tmp/io")"
        [ "$(told $x)" = "${generation[$x]}" ] || fail "$x: ${generation[$x]} became $(told $x)"
    done
    ! right ws3 || fail "ws3 has survived by chance, so this test says nothing"
done
[ "$(told ws3)" != "${generation[ws3]}" ] || fail "ws3 has lost its pages and not its generation"

# Another client is known to have had it, whatever happens then.
qemu-io -f raw -c 'write -P 0x99 0 4k' "$(uri ws2 machine-B)" >"$tmp/io" 2>&1 || true
ctl stop
wait_server || fail "it did not stop in order"
start_server
for x in ws1 ws2 ws3; do wait_until 60 export_is $x ready; done
right ws1 || fail "ws1, after a clean stop: $(cat "$tmp/io")"
qemu-io -f raw -c 'write -P 0x99 0 4k' "$(uri ws2 machine-B)" >"$tmp/io" 2>&1 || fail "machine-B: $(cat "$tmp/io")"
die
must_match "$(cat "$log")" 'export ws2: its last use did not end cleanly; it goes on'
old=${generation[ws2]}
! qemu-io -f raw -c 'read 0 4k' "$(uri ws2 "machine-A%26${old/&/%26}")" >"$tmp/io" 2>&1 || fail "machine-A came back to what machine-B has"
qemu-io -f raw -c 'read -P 0x99 0 4k' "$(uri ws2 machine-B)" >"$tmp/io" 2>&1 || fail "machine-B: $(cat "$tmp/io")"
! grep -q failed "$tmp/io" || fail "machine-B: $(cat "$tmp/io")"

# With survive = process from now on: what the records tell is taken over once more, and then it ends with the processes.
sed -i 's/survive = host/survive = process/' "$conf"
die
right ws1 || fail "ws1, taken over: $(cat "$tmp/io")"
die
! right ws1 || fail "ws1 survived as process"
