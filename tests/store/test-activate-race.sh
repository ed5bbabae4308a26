#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Many activations of one missing file at once: one has it, the others are refused, and the loser of the race never takes the winner's file away.
. "${srcdir:-.}/tests/functions.sh" || exit 1
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

# The one that made the file is held up before it has the lock; the other one finds the file empty and is faster.
requires command -v strace
rm -f "$f"
ASAN_OPTIONS=detect_leaks=0 strace -o /dev/null -e trace=fcntl -e inject=fcntl:delay_enter=4s:when=1 \
    "$storetool" activate "$f" size=1M >"$tmp/slow" 2>&1 &
slow=$!
wait_until 30 test -e "$f"
coproc FAST { exec "$storetool" activate "$f" size=1M begin write=0+1:9 hold end; }
fast=$!
got=
while read -r line <&"${FAST[0]}"; do if [ "$line" = holding ]; then got=1; break; fi; done
[ -n "$got" ] || fail "the fast one was refused"
if wait "$slow"; then fail "both have it"; fi
must_match "$(cat "$tmp/slow")" "error EBUSY: .*f: is "
[ -e "$f" ] || fail "the loser has removed the winner's file"
exec {FAST[1]}>&-
wait "$fast" || fail "the winner failed"
works 'table fresh=255 written=1 lost=0' activate "$f" begin end
echo "right"
