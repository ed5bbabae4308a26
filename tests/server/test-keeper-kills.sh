#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A daemon under the keeper is killed at random instants while it stores and removes: each time one other is there, with all that had been stored,
# by name and content, and nothing that had been removed.  NBDSWAP_LONG=1: 2,000 kills (else 150).
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/keeper.sh"

kills=150
if [ -n "${NBDSWAP_LONG:-}" ]; then kills=2000; fi
exec {rest_fd}<> <(:)
rest() { read -rt "0.$(printf %03d "$1")" -u "$rest_fd" || true; }

# next_child: the pid of the one that runs now and is not $old.
next_child() {
    local end=$((SECONDS + 30))
    while ((SECONDS < end)); do
        read -r pid _ <"/proc/$keeper/task/$keeper/children" || true # there is no newline
        [ -n "$pid" ] && [ "$pid" != "$old" ] && return
        rest 1
    done
    fail "the keeper has not started another"
}

start_keeper 0 1 1 random
wait_until 30 started 1
old=0 most=0 early=0
for ((n = 1; n <= kills; n++)); do
    seen=$(starts)
    next_child
    # Into its first steps, before it is even executed, as well as into its work.
    case $((RANDOM % 3)) in
    0) ;;
    1) rest $((RANDOM % 8)) ;;
    2)
        ((n == 1)) || wait_until 30 started "$seen"
        rest $((RANDOM % 60))
        ;;
    esac
    kill -KILL "$pid" || fail "it had ended by itself"
    old=$pid
    grep -qx "$pid" "$tmp/starts" || early=$((early + 1))
    nothing_wrong
    kept=$(sed -n '$s/.* with \([0-9]*\) descriptors.*/\1/p' "$tmp/log")
    ((${kept:-0} <= most)) || most=$kept
done
next_child
wait_until 30 grep -qx "$pid" "$tmp/starts"
((most >= 10)) || fail "never more than $most descriptors were kept"
echo "$kills kills, $early of them before it was under way, $(grep -c '^=' "$tmp/journal") times stored, $(grep -c '^~' "$tmp/journal") removed, up to $most kept at once"
kill -TERM "$keeper"
ended_with 7
nothing_wrong
