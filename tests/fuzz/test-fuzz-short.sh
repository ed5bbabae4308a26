#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Every fuzz target runs for a few seconds from its seeds, which hold what was found before; `make fuzz` runs them for longer.
. "${srcdir:-.}/tests/functions.sh" || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL # of the make that runs this

clang=$(make -s --no-print-directory -C "$builddir" print-clang)
[ -n "$clang" ] || skip "clang is not installed (Debian: clang libclang-rt-dev)"
echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return 0; }' >"$tmp/empty.c"
"$clang" -fsanitize=fuzzer,address,undefined -o "$tmp/empty" "$tmp/empty.c" 2>"$tmp/log" ||
    skip "clang has no libFuzzer (Debian: libclang-rt-dev): $(tail -n 1 "$tmp/log")"

make -C "$builddir" -j2 fuzz-programs >"$tmp/log" 2>&1 || fail "building: $(tail -n 20 "$tmp/log")"
mkdir "$tmp/found"
export srcdir builddir
# The same beginning every time, so that it is the tree that makes the difference; how far it comes in the time is the machine's.
FUZZ_FLAGS='-seed=1' bash "$srcdir/tests/fuzz/run.sh" "${FUZZ_TIME:-5}" "$tmp/found" || fail "a fuzz target found something"
