#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The memory test itself: right memory passes, one flipped bit is found and named.
. "${srcdir:-.}/tests/functions.sh" || exit 1
swapload=$builddir/tests/vm/swapload

out=$(timeout 60 "$swapload" --size 16 --processes 3 --rounds 3 --seed 7) || fail "right memory did not pass: $out"
must_match "$out" '^swapload: OK, 4095 pages x 3 rounds, 3 processes, pswpout=[0-9]+ pswpin=[0-9]+ longest pause [0-9]+ us'

out=$(timeout 60 "$swapload" --size 4 --json) || fail "right memory did not pass: $out"
must_match "$out" '^\{"verdict":"OK","pages":1024,"rounds":2,'

rc=0
out=$(timeout 60 "$swapload" --size 4 --rounds 3 --corrupt) || rc=$?
[ "$rc" = 1 ] || fail "a flipped bit gave exit code $rc: $out"
must_match "$out" '^swapload: WRONG process 0 page 512 word 17 round 1: expected [0-9a-f]{16}, found [0-9a-f]{16}$'
must_match "$out" '^swapload: WRONG, 1024 pages'
read -r expected found < <(sed -n 's/.*expected \([0-9a-f]*\), found \([0-9a-f]*\)$/\1 \2/p' <<<"$out")
[ $((0x$expected ^ 0x$found)) = $((1 << 40)) ] || fail "not the bit that was flipped: $out"

for bad in "" "--size 0" "--size x" "--size 4 --processes 0" "--size 4 extra"; do
    rc=0
    # shellcheck disable=SC2086 # words on purpose
    timeout 10 "$swapload" $bad >/dev/null 2>&1 || rc=$?
    [ "$rc" = 2 ] || fail "swapload $bad: exit code $rc, not 2"
done

out=$(timeout 60 "$swapload" --size 8 --processes 2 --passes 3) || fail "right memory did not pass: $out"
[ "$(grep -c ' 1024 pages right, 0 unreadable, 0 not filled$' <<<"$out")" = 6 ] || fail "not each process in each pass: $out"
must_match "$out" '^swapload: OK, 2048 pages'
