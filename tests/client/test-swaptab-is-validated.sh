#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# attach --all: the whole swaptab is validated before anything is attached; exit codes of several.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/client/nbd.sh"

all=("$nbdswap" attach --all --dry-run --loopback-i-know --state-dir "$tmp/run" --swaptab "$tmp/swaptab")

expect 3 "cannot open $tmp/swaptab" "${all[@]}"
requires nbdkit --version
start_tcp_nbdkit good memory size=64M

# A mistake in the last line: the server of the first is not even asked.
printf '# swap\nnbd://127.0.0.1:%s/a pri=5\nnbd://127.0.0.1/b pri=x\n' "$good" >"$tmp/swaptab"
expect 3 "$tmp/swaptab:3: priority \"x\"" "${all[@]}"
run_rc rc out "${all[@]}"
! grep -q 'ok ' <<<"$out" || fail "a line was used although another is wrong"

: >"$tmp/swaptab"
expect 0 '' "${all[@]}"

# All lines are tried, whatever becomes of the others.
printf 'nbd://127.0.0.1:1/a\nnbd://127.0.0.1:%s/b label=bee,pri=3\n' "$good" >"$tmp/swaptab"
rc=0
out=$("${all[@]}" --json) || rc=$?
requires jq --version
[ "$(jq length <<<"$out")" = 2 ] || fail "not both lines were tried: $out"
jq -e '.[0].exit_code != 0 and .[0].uri == "nbd://127.0.0.1:1/a"' <<<"$out" >/dev/null || fail "first line: $out"
jq -e --arg u "nbd://127.0.0.1:$good/b" '.[1].uri == $u and ([.[1].preflight[] | select(.item == "export")] | length == 1)' \
    <<<"$out" >/dev/null || fail "second line: $out"
if [ "$(id -u)" = 0 ] && [ -e /sys/block/nbd0 ]; then
    [ "$rc" = 7 ] || fail "exit code $rc although one line could be attached"
else
    [ "$rc" = 4 ] || fail "exit code $rc although none could be attached"
fi
