#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What is installed has nothing of the fault layer: no symbol and no word of it.  The same search finds both in the test variants, so that
# it cannot pass because it looks for the wrong thing.
. "${srcdir:-.}/tests/functions.sh" || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL # of the make that runs this
requires command -v nm
requires command -v strings

symbols='fault_(before|after|configure|preadv|pwritev|counters|rules)'
words='^(NBDSWAP_FAULTS|rw\.write|trailer\.sync|misdirect)$'

has_symbols() { nm "$1" 2>/dev/null | grep -E "$symbols" >"$tmp/found"; }
has_words() { strings -n 5 "$1" | grep -E "$words" >"$tmp/found"; }

# Of a program the real one, not libtool's wrapper.
real() {
    local f
    for f in "$builddir/$(dirname "$1")/.libs/$(basename "$1")" "$builddir/$1"; do
        [ -f "$f" ] && echo "$f" && return
    done
    fail "there is no $1 in the build tree"
}

for f in .libs/libstore-fault.a .libs/nbdkit-swapfault-plugin.so; do
    has_symbols "$builddir/$f" || fail "$f has no symbol of the fault layer: this test would find nothing anywhere"
    has_words "$builddir/$f" || fail "$f has no word of the fault layer: this test would find nothing anywhere"
done
count=0
for f in .libs/libstore.a .libs/nbdkit-swap-plugin.so $(make -C "$builddir" -s --no-print-directory print-installed-programs); do
    f=$(real "$f")
    ! has_symbols "$f" || fail "$f has symbols of the fault layer: $(head -n 3 "$tmp/found")"
    ! has_words "$f" || fail "$f has words of the fault layer: $(head -n 3 "$tmp/found")"
    count=$((count + 1))
done
[ "$count" -ge 5 ] || fail "only $count files were looked at"
echo "$count files have nothing of the fault layer, the test variants do"
