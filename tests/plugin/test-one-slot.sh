#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A connection that comes back takes the place of the one in its slot, which writes nothing any more; one that begins anew is not let in beside it.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
requires command -v ss

(ulimit -s "$NBDKIT_STACK" && exec env ${preload:+LD_PRELOAD="$preload"} "$nbdkit" -f -i 127.0.0.1 -p 0 "$plugin" "allow=$allow" \
    file="$disk/x.swap" size=16M) </dev/null >>"$log" 2>&1 &
pid=$!
cleanup_fn end_process "$pid"
port=
listens() { port=$(ss -Hltnp | sed -nE "s/^LISTEN +[0-9]+ +[0-9]+ +[^ ]*:([0-9]+) .*pid=$pid,.*/\1/p" | head -n 1) && [ -n "$port" ]; }
wait_until 60 listens
u() { echo "nbd://127.0.0.1:$port/x.swap%3Fclient=one${1:+%26$1}"; }

generation=$("$nbdinfo" --json "$(u)" | grep -oE 'gen=[0-9]+&lease=[0-9]+')
mkfifo "$tmp/go"
"$nbdcmd" "$(u slot=0/1)" writesame 0 4k 1 pause writesame 0 4k 1 <"$tmp/go" >"$tmp/said" 2>&1 &
first=$!
cleanup_fn end_process "$first"
exec 5>"$tmp/go"
wait_until 60 grep -q paused "$tmp/said"

# Anew, and in another slot.
if "$nbdcmd" "$(u slot=0/1)" readsame 0 4k 1 2>/dev/null; then fail "a second one was let into the slot"; fi
must_match "$(cat "$log")" 'earlier connection in its slot has not ended yet'
"$nbdcmd" "$(u slot=1/2)" readsame 0 4k 1
if "$nbdcmd" "$(u "slot=0/1%26${generation/lease=/lease=1}")" readsame 0 4k 1 2>/dev/null; then fail "another generation was let in"; fi

# Back: what the first still writes does not get there.
"$nbdcmd" "$(u "slot=0/1%26${generation/&/%26}")" writesame 0 4k 2
echo go >&5
if wait "$first"; then fail "the one whose place was taken wrote"; fi
"$nbdcmd" "$(u slot=0/1)" readsame 0 4k 2
end_process "$pid"
