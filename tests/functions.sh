# SPDX-License-Identifier: BSD-3-Clause
# What every shell test begins with:  . "${srcdir:-.}/tests/functions.sh" || exit 1  (run from the build tree by make check,
# which sets srcdir, builddir and VERSION).  A test exits 0 passed, 77 skipped with its reason printed, else failed.
# shellcheck shell=bash

set -euo pipefail
export LC_ALL=C

srcdir=$(cd "${srcdir:?set srcdir to the top of the source tree}" && pwd)
builddir=$(cd "${builddir:?set builddir to the top of the build tree}" && pwd)

# Everything a test makes lies here and is removed at its end.
tmp=$(mktemp -d "${TMPDIR:-/tmp}/nbdswap-test.XXXXXX")

_cleanup_cmds=()
# cleanup_fn CMD ARG...: runs at the end of the test, last registered first.
cleanup_fn() {
    _cleanup_cmds+=("$(printf '%q ' "$@")")
}
_on_exit() {
    local rc=$? i
    set +e
    for ((i = ${#_cleanup_cmds[@]} - 1; i >= 0; i--)); do eval "${_cleanup_cmds[i]}"; done
    rm -rf "$tmp"
    exit "$rc"
}
trap _on_exit EXIT
trap 'exit 1' INT TERM

fail() {
    printf 'FAIL: %s\n' "$*" >&2
    exit 1
}

skip() {
    printf 'SKIP: %s\n' "$*" >&2
    exit 77
}

# requires CMD ARG...: skip unless the command succeeds.
requires() {
    "$@" >/dev/null 2>&1 || skip "needs: $*"
}

# must_match TEXT REGEX [WHAT]: fail unless TEXT matches the extended regular expression.
must_match() {
    grep -qE -- "$2" <<<"$1" || fail "${3:-output} does not match /$2/:"$'\n'"$1"
}

# wait_until SECONDS CMD ARG...: polls until the command succeeds, fails after a generous limit.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "timed out waiting for: $*"
        sleep 0.05
    done
}

# end_process PID: ends a process this test started (TERM, then KILL) and reaps it.
end_process() {
    local n
    kill -TERM "$1" 2>/dev/null || return 0
    for ((n = 0; n < 100; n++)); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# What serves under a nbdswapd that a test starts: ENGINE=native|nbdkit in the environment, else what the daemon takes by default.
# engine: prints which.
engine() {
    if [ -n "${ENGINE:-}" ]; then
        echo "$ENGINE"
    elif "$builddir/server/nbdswapd" --help-config | grep -A 1 '^  engine = ' | grep -q 'default: native'; then
        echo native
    else
        echo nbdkit
    fi
}

# engine_lines: what the section [server] of its configuration needs for that, with the programs of the build tree.
engine_lines() {
    printf 'plugin = %s\n' "$builddir/.libs/nbdkit-swap-plugin.so"
    printf 'native = %s\n' "$builddir/server/nbdswap-engine"
    if [ -n "${ENGINE:-}" ]; then printf 'engine = %s\n' "$ENGINE"; fi
}

# requires_engine: skip unless it can run here.
requires_engine() {
    case $(engine) in
    native) requires test -x "$builddir/server/nbdswap-engine" ;;
    *)
        requires nbdkit --version
        requires test -e "$builddir/.libs/nbdkit-swap-plugin.so"
        ;;
    esac
}

# is_engine PROGRAM: fail unless that is what was asked for.  (Where io_uring is not to be had the daemon takes nbdkit for the engine.)
is_engine() {
    case $(engine):${1##*/} in
    nbdkit:nbdkit) ;;
    native:nbdkit | nbdkit:*) fail "the worker is $1, not that of engine = $(engine)" ;;
    esac
}
