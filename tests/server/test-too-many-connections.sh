#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# More connections than the engine has places for are refused with a reason that the client sees, those in use are not disturbed, and a place
# that has come free can be had again.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
export ENGINE=native
requires_worker
requires_backing
requires jq --version
requires qemu-io --version

server_lines='connections = 2'
make_conf '[export a]'
start_server
wait_until 60 export_is a ready
one() { timeout 60 qemu-io -f raw -c "$1" "$(uri a me)"; }
one 'write -P 5 0 64k'
sessions_are() { [ "$(field '.exports[0].sessions')" = "$1" ]; }
wait_until 30 sessions_are 0
declare -A first
for i in 1 2; do
    mkfifo "$tmp/in.$i"
    qemu-io -f raw "$(uri a me)" <"$tmp/in.$i" >"$tmp/out.$i" 2>&1 &
    first[$i]=$!
    exec {fd}>"$tmp/in.$i"
    fds[i]=$fd
done
wait_until 30 sessions_are 2
for ((n = 0; n < 5; n++)); do
    if one 'read -P 5 0 4k' 2>"$tmp/err"; then
        fail "a third connection was served"
    fi
    must_match "$(cat "$tmp/err")" 'policy|not permitted|no more'
done
told() { grep -q 'has 2 connections in use and takes no more' "$log"; }
wait_until 30 told
for i in 1 2; do
    # One line at a time: a second one that it has in its own buffer already may not wake it.
    printf 'read -P 5 0 64k\n' >&"${fds[i]}"
    wait_until 60 grep -q 'read 65536/65536' "$tmp/out.$i"
    printf 'quit\n' >&"${fds[i]}"
    fd=${fds[i]}
    exec {fd}>&-
    wait "${first[$i]}" || fail "a connection in use was disturbed: $(cat "$tmp/out.$i")"
    must_match "$(cat "$tmp/out.$i")" 'read 65536/65536'
done
wait_until 30 sessions_are 0
must_match "$(one 'read -P 5 0 64k')" 'read 65536/65536'
