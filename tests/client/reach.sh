# SPDX-License-Identifier: BSD-3-Clause
# Sourced after tests/functions.sh: tests/client/reachtool and what it must say.
# shellcheck shell=bash

reachtool=$builddir/tests/client/reachtool

# reach_says RC REGEX [--OPTION...] REQUEST ADDRESS:PORT...
reach_says() {
    local want=$1 regex=$2 options=() request rc=0 out
    shift 2
    while [[ $1 = --* ]]; do
        options+=("$1" "$2")
        shift 2
    done
    request=$1
    shift
    out=$(timeout 120 "$reachtool" "${options[@]}" "$request" 30000 "$@" 2>&1) || rc=$?
    [ "$rc" = "$want" ] || fail "exit code $rc, not $want: $request at $*"$'\n'"$out"
    must_match "$out" "$regex" "$request at $*"
    must_match "$out" ', allocations 0$' "$request at $*"
    if [ "$want" = 0 ]; then must_match "$out" '^pages right$' "$request at $*"; fi
}
reaches() { reach_says 0 "$@"; }
fails() { reach_says 1 "^failed .*$1" "${@:2}"; }
