#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A client vanishes without a word: its connection, idle or with answers on the way to it, ends in a known time, and its export is free.  If
# another has it when the first can be reached again, that one gets errors.
# In a network of its own, so that no address is anybody's.
if [ -z "${HALF_OPEN_NET:-}" ] && unshare -n true 2>/dev/null; then
    HALF_OPEN_NET=own exec unshare -n "$0"
fi
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires ss --version
requires nbdcopy --version
requires qemu-io --version
PATH=/usr/bin:$PATH requires nbdsh --version

[ -n "${HALF_OPEN_NET:-}" ] || skip "needs the right to make a network namespace"
requires ip -V

# The client is in another, and the cable can be pulled there.
net=nbdswap-test-$$
requires ip netns add "$net"
cleanup_fn ip netns del "$net"
requires ip link add here type veth peer name there netns "$net"
ip link set lo up
ip address add 192.0.2.1/30 dev here
ip link set here up
ip -n "$net" address add 192.0.2.2/30 dev there
ip -n "$net" link set there up

make_conf '[export idle]' '[export busy]'
sed -i 's/^listen = .*/listen = 192.0.2.1:0/' "$conf"
start_server
wait_until 60 export_is idle ready
wait_until 60 export_is busy ready
port=$(field '.listen[0]' | sed 's/.*://')
far() { printf 'nbd://192.0.2.1:%s/%s%%3Fclient%%3D%s' "$port" "$1" "${2:-A}"; }

ip netns exec "$net" qemu-io -f raw -c 'write -P 0xa1 0 1M' "$(far idle)" >"$tmp/out" || fail "$(cat "$tmp/out")"
generation=$(ip netns exec "$net" nbdinfo --json "$(far idle)" | jq -r '.exports[0].description')
must_match "$generation" '^gen=[0-9]+&lease=[0-9]+$'
A=A%26${generation/&/%26}
mkfifo "$tmp/fifo"
cat >"$tmp/first.py" <<'EOF'
import sys
h.connect_uri(sys.stdin.readline().strip())
sys.stdin.readline()
try:
    print("got", h.pread(4096, 0)[0])
except nbd.Error as e:
    print("error:", e)
EOF
PATH=/usr/bin:$PATH ip netns exec "$net" nbdsh -c "$(cat "$tmp/first.py")" <"$tmp/fifo" >"$tmp/out" 2>&1 &
first=$!
cleanup_fn end_process "$first"
exec {fd}>"$tmp/fifo"
far idle "$A" >&"$fd"
echo >&"$fd"
wait_until 30 client_is idle A
# Reads without end: answers are on the way all the time.
# shellcheck disable=SC2016 # for that shell
setsid ip netns exec "$net" bash -c 'while :; do nbdcopy --connections=1 --requests=16 "$0" null:; done' "$(far busy)" >"$tmp/out2" 2>&1 &
cleanup_fn kill -KILL -- "-$!"
reads() { field '.exports[]|select(.name=="busy")|.counters.reads'; }
flows() { [ "$(reads)" -gt $((before + 100)) ]; }

sockets() { ss -tnoH state established "sport = :$port"; }
# The cable, again until something was on the way when it was pulled.
pulled() {
    before=$(reads)
    wait_until 30 flows
    ip -n "$net" link set there down
    [[ $(sockets) == *'timer:(on,'* && $(sockets) == *'timer:(keepalive,'* ]] && return
    ip -n "$net" link set there up
    return 1
}
wait_until 120 pulled
start=$SECONDS
gone() { [ "$(field '.sessions|length')" = 0 ]; }
wait_until 60 gone
took=$((SECONDS - start))
echo "both are gone after $took s"
# 25 s; at the time of the pull the idle one may have been idle for some of it, and a machine with much to do is late.
((took <= 30)) || fail "the man page says 25 s"
free() { [ "$(field ".exports[]|select(.name==\"$1\")|.client")" = null ]; }
wait_until 40 free idle # kept for it for a while

# Another has it, and then the first is there again: neither on its old connection nor on a new one, while the other is there or when it has
# gone, does it get anything.
qemu-io -f raw -c 'write -P 0xb2 0 1M' "$(far idle B)" >"$tmp/out2" || fail "the other client: $(cat "$tmp/out2")"
ip -n "$net" link set there up
echo >&"$fd"
wait "$first" || true
must_match "$(cat "$tmp/out")" '^error: '
if ip netns exec "$net" qemu-io -f raw -c 'read 0 4k' "$(far idle "$A")" >"$tmp/out" 2>&1; then fail "it is let in again: $(cat "$tmp/out")"; fi
must_match "$(tail -n 3 "$log")" 'idle.* has passed to another client, B .*must not resume'
