#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two clients fight for one export, and each dies with requests under way, now and then with the worker.  Who has lost it comes back to what it
# swapped out and gets errors, never a word of the winner's; and what it left under way is never in the winner's pages.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires qemu-io --version
requires nbdinfo --version

rounds=${ROUNDS:-8} pages=1024
nbdmodel=$builddir/tests/vm/nbdmodel
make_conf '[export ws1]'
start_server
wait_until 60 export_is ws1 ready

declare -A generation=([A]='' [B]='')
# as CLIENT [GENERATION]: what it asks for.
as() { uri ws1 "$1${2:+%26${2/&/%26}}"; }
# model CLIENT GENERATION COMMAND...: the model of just this client; its versions are never the other's.
model() { timeout 120 "$nbdmodel" "$(as "$1" "$2")" "$tmp/model-$1" "$pages" "${@:3}" >"$tmp/$1.out" 2>&1; }
# loses CLIENT REGEX: it comes back under the generation it had, and is not let in, for a reason.  nbdmodel ends with 2 before it has read anything.
loses() {
    local rc=0
    model "$1" "${generation[$1]}" read || rc=$?
    [ "$rc" = 2 ] || fail "$1 came back under ${generation[$1]} and got: $(cat "$tmp/$1.out")"
    if grep -q 'right=' "$tmp/$1.out"; then fail "$1 read: $(cat "$tmp/$1.out")"; fi
    must_match "$(tail -n 8 "$log")" "$2" "what the server says of $1"
}
free_for() { qemu-io -f raw -c 'discard 0 4M' "$(as "$1")" >"$tmp/$1.out" 2>&1; }
# has CLIENT: attaches anew: nothing of an earlier use remains; then it fills the export.
has() {
    wait_until 60 free_for "$1"
    rm -f "$tmp/model-$1"
    # The last version: A counts from 0 on, B from 2^31, so that no page of the one can be taken for the other's.
    [ "$1" = A ] || printf '\0\0\0\200' >"$tmp/model-$1"
    model "$1" '' read || fail "$1: after its attach: $(cat "$tmp/$1.out")"
    model "$1" '' write || fail "$1: $(cat "$tmp/$1.out")"
    generation[$1]=$(nbdinfo --json "$(as "$1")" | jq -r '.exports[0].description')
    must_match "${generation[$1]}" '^gen=[0-9]+&lease=[0-9]+$'
}
held_by() { [ "$(field '.exports[0].client')" = "$1" ]; }
writes() { field '.exports[0].counters.writes'; }
goes_on() { [ "$(writes)" -gt $((before + 50)) ]; }

loser=A winner=B
has A
for ((round = 1; round <= rounds; round++)); do
    has "$winner"
    loses "$loser" "ws1.* (has passed to another client, $winner |in use by client $winner )"
    # The winner works under its generation, and all it reads is right.
    model "$winner" "${generation[$winner]}" mix 500 || fail "$winner: $(cat "$tmp/$winner.out")"
    model "$winner" "${generation[$winner]}" read || fail "$winner: $(cat "$tmp/$winner.out")"
    must_match "$(tail -n 1 "$tmp/$winner.out")" "right=$pages unreadable=0 lost=0 old=0 wrong=0"
    "$nbdmodel" "$(as "$winner" "${generation[$winner]}")" "$tmp/model-$winner" "$pages" mix 100000000 >"$tmp/$winner.out" 2>&1 &
    busy=$!
    cleanup_fn end_process "$busy"
    wait_until 30 held_by "$winner"
    before=$(writes)
    wait_until 60 goes_on
    loses "$loser" "ws1.* (in use by client $winner |has passed to another client, $winner )"
    if free_for "$loser"; then fail "$loser has what $winner holds"; fi
    # It dies, with requests under way.
    kill -0 "$busy" || fail "$winner: $(cat "$tmp/$winner.out")"
    # One command, the client first: of a dead worker it dies by itself.
    if ((round % 2)); then kill -KILL "$busy"; else kill -KILL "$busy" "$(worker_pid)"; fi
    wait "$busy" 2>/dev/null || true
    loses "$loser" "ws1.* (has passed to another client, $winner |in use by client $winner |kept for client $winner |the worker .*)"
    ((round % 2)) || { wait_until 60 worker_ready && wait_until 60 export_is ws1 ready; }
    swap=$loser loser=$winner winner=$swap
done
echo "$rounds rounds"
