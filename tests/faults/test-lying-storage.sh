#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Storage that lies, through a real nbdkit: a write that it lost, tore, put elsewhere or changed is an error to read, never another
# content; what it did not lie about is right; written anew all is well.  Without checks the same lies reach the client, so they were told.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
plugin=$builddir/.libs/nbdkit-swapfault-plugin.so
[ -e "$plugin" ] || fail "$plugin was not built"

on() { touch "$tmp/on"; }
off() { rm -f "$tmp/on"; }
nbd() { timeout 120 "$nbdcmd" "$uri" "$@"; }
wrong_or_failed() { ! nbd "$@" 2>/dev/null; }

# lie KIND RULE ARG...: 8 pages are written well, then the middle 4 by a storage that lies.
lie() {
    local kind=$1
    export NBDSWAP_FAULTS="$2,trigger=$tmp/on"
    shift 2
    rm -f "$disk/f.swap"
    start_nbdkit file="$disk/f.swap" size=4M "$@"
    nbd write 1M 32k 1
    on
    nbd write 1032k 16k 2
    off
}

for how in 'check=xxh3' 'seal=aes-256-gcm'; do
    for kind in lost torn flip misdirect; do
        lie "$kind" "rw.write:$kind" "$how"
        # One by one: some of the four may have been spared by what was torn or changed, but none is anything else.
        errors=0
        for at in 1032k 1036k 1040k 1044k; do
            nbd read "$at" 4k 2 2>/dev/null && continue
            nbd expect EIO read "$at" 4k 2 || fail "$how, $kind: at $at neither right nor an error"
            # And it stays one, however often it is asked for.
            nbd expect EIO read "$at" 4k 2 || fail "$how, $kind: at $at an error, and then not"
            errors=$((errors + 1))
        done
        [ "$errors" -gt 0 ] || fail "$how, $kind: the lie was not told, or believed"
        # Those around it: right, unless the storage put the four pages there.
        for at in 1M 1028k 1048k 1052k; do
            nbd read "$at" 4k 1 2>/dev/null && continue
            [ "$kind" = misdirect ] || fail "$how, $kind: at $at not what was written"
            nbd expect EIO read "$at" 4k 1 || fail "$how, $kind: at $at neither right nor an error"
        done
        nbd write 1M 32k 3 read 1M 32k 3
        stop_nbdkit
        echo "$how, $kind: $errors of 4 pages in error"
    done

    # A read that was wrong once is read again, and nobody hears of it; one that is always wrong is an error.
    lie read "rw.read:flip,nth=1" "$how"
    on
    nbd read 1032k 16k 2 || fail "$how: a single wrong read reached the client"
    off
    stop_nbdkit
    lie read "rw.read:flip" "$how"
    on
    nbd expect EIO read 1032k 4k 2
    off
    nbd expect EIO read 1032k 4k 2
    nbd read 1036k 12k 2 write 1032k 4k 4 read 1032k 4k 4
    stop_nbdkit
done

for kind in lost torn flip misdirect; do
    lie "$kind" "rw.write:$kind" check=none
    wrong_or_failed read 1032k 16k 2 || fail "without checks, $kind: the lie was not told at all"
    ! nbd expect EIO read 1032k 16k 2 2>/dev/null || fail "without checks, $kind: an error, which nobody could know of"
    stop_nbdkit
done
