#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Many activations of one missing file at once: one has it, the others are refused, and the loser of the race never takes the winner's file away.
. "${srcdir:-.}/tests/functions.sh"
. "$srcdir/tests/store/loopfs.sh"

loopfs_make ext4 100
f=$mnt/f
for round in $(seq 25); do
    rm -f "$f"
    for i in 1 2 3 4; do
        "$storetool" activate "$f" size=1M begin write=$i+1:7 end >"$tmp/out.$i" 2>&1 &
        pids[i]=$!
    done
    won=0
    for i in 1 2 3 4; do
        if wait "${pids[i]}"; then
            ((won += 1))
        else
            must_match "$(cat "$tmp/out.$i")" 'error (EBUSY|EEXIST|EINVAL): ' "round $round, loser $i"
        fi
    done
    ((won >= 1)) || fail "round $round: nobody won: $(cat "$tmp"/out.*)"
    [ -e "$f" ] || fail "round $round: the file of the winner is gone"
    works "table fresh=$((256 - won)) written=$won lost=0" activate "$f" begin end
done
echo "right"
