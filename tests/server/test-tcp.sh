#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Over TCP: the port that the kernel chose is shown, accepted connections have keepalive, and a client without an id is known by its address.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires qemu-io --version
requires ss --version

make_conf '[export ws1]'
sed -i 's/^listen = .*/listen = 127.0.0.1:0/' "$conf"
start_server
wait_until 60 export_is ws1 ready
port=$(field '.listen[0]' | sed -n 's/^127\.0\.0\.1:\([0-9]*\)$/\1/p')
[ "${port:-0}" -gt 0 ] || fail "no port in $(field .listen)"
uri() { printf 'nbd://127.0.0.1:%s/%s%s' "$port" "$1" "${2:+%3Fclient%3D$2}"; }

mkfifo "$tmp/fifo"
qemu-io -f raw "$(uri ws1)" <"$tmp/fifo" >"$tmp/out" 2>&1 &
cleanup_fn end_process "$!"
exec {fd}>"$tmp/fifo"
wait_until 30 client_is ws1 127.0.0.1
# (another timer is shown while something is not acknowledged yet)
has_keepalive() { [[ $(ss -tnoH state established "sport = :$port") == *'timer:(keepalive,'* ]]; }
wait_until 30 has_keepalive
nbdinfo "$(uri ws1)" >"$tmp/out2" || fail "a second connection from the same address"
if nbdinfo "$(uri ws1 another)" >"$tmp/out2" 2>&1; then fail "a second client was let in"; fi
exec {fd}>&-
