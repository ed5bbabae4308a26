#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A file becomes another while there is no daemon: its successor finds it lost, and the worker, which goes on with the descriptor that it has,
# writes nothing there any more.  Other exports go on.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/successor.sh"
requires_worker
requires_backing
requires qemu-io --version

resume_conf '[export a]' '[export b]'
start_server
for name in a b; do wait_until 60 export_is "$name" ready; done
port=$(port)
mkfifo "$tmp/fifo"
qemu-io -t none -f raw "nbd://127.0.0.1:$port/a" <"$tmp/fifo" >"$tmp/out" 2>&1 &
cleanup_fn end_process "$!"
exec {fd}>"$tmp/fifo"
echo 'write -P 1 0 64k' >&"$fd"
wrote() { grep -q 'wrote 65536/65536' "$tmp/out"; }
wait_until 60 wrote

the_daemon
kill -STOP "$server_pid"
kill -KILL "$daemon"
gone() { [[ $(awk '/^State:/ { print $2 }' "/proc/$daemon/status") = [ZX] ]]; }
wait_until 30 gone
truncate -s +4096 "$tmp/a.swap"
cp "$tmp/a.swap" "$tmp/before"
kill -CONT "$server_pid"
lost() { export_is a lost 2>/dev/null && worker_ready; }
wait_until 60 lost
wait_until 60 export_is b ready
answered() { [ "$(grep -cE '(wrote|read) [0-9]|(read|write) failed' "$tmp/out")" -ge "$1" ]; }
echo 'write -P 2 0 64k' >&"$fd"
wait_until 60 answered 2
echo 'read 0 4k' >&"$fd"
wait_until 60 answered 3
cmp "$tmp/before" "$tmp/a.swap" || fail "the file that was lost was written to: $(cat "$tmp/out")"
[ "$(grep -cE '(read|write) failed' "$tmp/out")" = 2 ] || fail "$(cat "$tmp/out")"
out=$(timeout 60 "$nbdcheck" --port "$port" --export b --connections 1 --depth 8 --operations 50 2>&1) || fail "the other export: $out"
kill -TERM "$server_pid"
wait_server || fail "exit status $?"
