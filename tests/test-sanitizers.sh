# SPDX-License-Identifier: BSD-3-Clause
# The unit tests and the plugin's tests in a build with AddressSanitizer and UndefinedBehaviorSanitizer, and the store's tests of races in
# one with ThreadSanitizer.  The builds lie in the build tree and are used again; `make check-sanitizers` runs this alone.
. "${srcdir:-.}/tests/functions.sh" || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL # of the make that runs this

[ "$(cd "$builddir" && make -s --no-print-directory print-sanitizers)" = no ] || skip "this build has sanitizers already"
log=$tmp/log
source=$srcdir
# A source tree that is configured itself cannot be built elsewhere: then from the files that would be distributed.
if [ -e "$srcdir/config.status" ]; then
    make -C "$builddir" -s distdir distdir=sanitizers-source >"$log" 2>&1 || fail "distdir: $(tail -n 20 "$log")"
    source=$builddir/sanitizers-source
fi

# build NAME LIST TARGET...
build() {
    local dir=$builddir/sanitizers-$1 list=$2
    shift 2
    mkdir -p "$dir"
    (
        cd "$dir"
        # -O1: readable stacks, and half the time of -O2.
        [ -e config.status ] || "$source/configure" -q --enable-sanitizers="$list" CFLAGS='-g -O1'
        make -j2 "$@"
    ) >"$log" 2>&1 || fail "$list: $(tail -n 20 "$log")"
}
# run NAME TEST...: those tests in that build; what a sanitizer finds ends a program with 99.
run() {
    local dir=$builddir/sanitizers-$1
    shift
    (
        cd "$dir"
        export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1:exitcode=99
        make -j"$(nproc)" check TESTS="$*"
    ) >"$log" 2>&1 || fail "$(grep -E '^(FAIL|ERROR):' "$log"; cat "$dir/test-suite.log" 2>/dev/null | tail -n 60)"
    grep -E '^# (PASS|SKIP|FAIL):' "$log" | tr '\n' ' '
    echo
    ! grep -qE '^# PASS:  0$' "$log" || fail "no test was run: $*"
}

# What that build lists: tests that mean nothing under a sanitizer are not in it.
list() {
    make -C "$builddir/sanitizers-$1" -s --no-print-directory "$2"
}

build address address,undefined all
# shellcheck disable=SC2046
run address $(list address print-unit-tests) $(list address print-sanitizer-tests)
races=$(make -C "$builddir" -s --no-print-directory print-unit-tests | tr ' ' '\n' | grep -E '/test-(race|rw|pool|scrub)$')
# shellcheck disable=SC2086
build thread thread $races
# shellcheck disable=SC2086
run thread $races
