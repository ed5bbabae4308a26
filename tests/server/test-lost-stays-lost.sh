#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A lost export stays lost for the sessions that go on in another worker, though the descriptors of its file may be of use again: it may be
# somebody else's by then.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
[ "$(engine)" = native ] || skip "only sessions of the native engine outlive their worker"
requires_worker
requires_backing
requires jq --version
requires qemu-io --version

export NBDSWAP_FAULTS="rw.*:errno=ESTALE,trigger=$tmp/stale"
make_conf '[export a]'
sed -i 's/^listen = .*/listen = 127.0.0.1:0/' "$conf"
faulty_worker
start_server
wait_until 60 export_is a ready
port=$(field '.listen[0]' | sed -n 's/^127\.0\.0\.1:\([0-9]*\)$/\1/p')

mkfifo "$tmp/fifo"
qemu-io -t none -f raw "nbd://127.0.0.1:$port/a" <"$tmp/fifo" >"$tmp/out" 2>&1 &
cleanup_fn end_process "$!"
exec {fd}>"$tmp/fifo"
asked=0
answered() { [ "$(grep -cE '(read|wrote) [0-9]+/[0-9]+ bytes|(read|write) failed' "$tmp/out")" -ge "$asked" ]; }
# ask COMMAND ARG...: of the one client; its answer is in $said.
ask() {
    asked=$((asked + 1))
    echo "$*" >&"$fd"
    wait_until 60 answered
    said=$(grep -oE '(read|wrote) [0-9]+/[0-9]+ bytes|(read|write) failed.*' "$tmp/out" | tail -n 1)
}

head -c 64k /dev/urandom >"$tmp/first"
head -c 64k /dev/urandom >"$tmp/second"
ask write -s "$tmp/first" 0 64k
must_match "$said" '^wrote'
exec {old}<"$tmp/a.swap"
cp --preserve=all "$tmp/a.swap" "$tmp/copy"
mv "$tmp/copy" "$tmp/a.swap"
touch "$tmp/stale"
ask read 0 4k
must_match "$said" 'failed: Input/output error'
wait_until 30 export_is a lost
rm "$tmp/stale"

before=$(worker_pid)
kill -KILL "$before"
another() { worker_ready && [ "$(worker_pid)" != "$before" ]; }
wait_until 60 another
served() { [ "$(field '.sessions[0].state')" = served ]; }
wait_until 30 served
export_is a lost || fail "it is $(field '.exports[0].state')"
ask read 0 4k
must_match "$said" 'failed: Input/output error'
ask write -s "$tmp/second" 0 64k
must_match "$said" 'failed: Input/output error'
cmp -n 65536 "$tmp/first" "/proc/self/fd/$old" || fail "the file that was lost was written to"
