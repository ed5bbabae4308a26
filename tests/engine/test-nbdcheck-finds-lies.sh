#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The checking client of the tests of resuming: a server that is right passes, and every lie is found and named.
. "${srcdir:-.}/tests/functions.sh" || exit 1

lie() {
    rm -f "$tmp/sock"
    "$builddir/tests/engine/nbdlie" "$1" "$tmp/sock" &
    server=$!
    cleanup_fn end_process "$server"
    wait_until 20 test -S "$tmp/sock"
}

# check ARG...: its output in $said, its exit code in $rc
check() {
    rc=0
    said=$(timeout 120 "$builddir/tests/engine/nbdcheck" --unix "$tmp/sock" --connections 3 --depth 32 --operations 12000 "$@") || rc=$?
}

lie none
check --fresh
[ "$rc" = 0 ] || fail "an honest server was not believed: $said"
must_match "$said" 'ok: operations=1[0-9]{4} reads=[1-9].* writes=[1-9].* trims=[1-9].* zeroes=[1-9].* flushes=[1-9]'
end_process "$server"

# finds LIE TEXT [ARG...]: it is found, and said so.
finds() {
    local kind=$1 text=$2
    shift 2
    lie "$kind"
    check "$@"
    [ "$rc" = 1 ] || fail "$kind: exit code $rc: $said"
    must_match "$said" "WRONG: .*$text" "what was said of $kind"
    end_process "$server"
}

finds stale 'page [0-9]+, read from [0-9]+ to [0-9]+, holds: from byte 0 on (zeros|page [0-9]+, version [0-9]+ of)'
finds foreign 'page ([0-9]+), read from .* holds: from byte 0 on page'
finds torn 'from byte 2048 on'
finds zeros 'holds: from byte 0 on zeros'
finds flip 'from byte 12[0-9]+ on nothing that was ever written'
finds lost 'page [0-9]+, read from'
finds undone 'page [0-9]+, read from'
finds kept 'page [0-9]+, read from'
finds twice 'was answered before'
finds missing 'was not answered for 2 s' --stall 2
finds cookie 'which was (never sent here|answered before)'
finds error 'error 5 came back'
finds close '(the server closed the connection|the connection was lost)'
finds short '(what came is no reply|from byte 4088 on)'
finds tail 'bytes came after all requests were answered'
