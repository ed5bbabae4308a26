#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The example is a good configuration; everything wrong with a bad one is said, with file, line, key and reason.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"

out=$("$nbdswapd" --check-config --config "$srcdir/conf/nbdswapd.conf.example")
must_match "$out" 'ok, 2 exports'

cat >"$conf" <<'END'
[server]
threads = 1000
colour = red
[export a]
file = relative
size = 12
[export a]
END
rc=0
out=$("$nbdswapd" --check-config --config "$conf" 2>&1) || rc=$?
[ "$rc" = 3 ] || fail "exit status $rc, not 3"
must_match "$out" "$conf:2: threads: \"1000\" is not a number from 1 to 256"
must_match "$out" "$conf:3: colour: unknown key in \[server\]"
must_match "$out" "$conf:5: file: \"relative\" is not an absolute path"
must_match "$out" "$conf:6: size: \"12\" is not between"
must_match "$out" "$conf:7: \[export a\]: declared twice, first in line 4"
[ "$(wc -l <<<"$out")" = 5 ] || fail "not five errors: $out"

# The daemon itself refuses it in the same way, and starts nothing.
rc=0
timeout 10 "$nbdswapd" --config "$conf" >"$tmp/out" 2>&1 || rc=$?
[ "$rc" = 3 ] || fail "exit status $rc, not 3"

# Two names of one file.
touch "$tmp/f"
ln -s f "$tmp/g"
printf '[export a]\nfile = %s/f\n[export b]\nfile = %s/g\n' "$tmp" "$tmp" >"$conf"
if out=$("$nbdswapd" --check-config --config "$conf" 2>&1); then fail "one file for two exports was accepted"; fi
must_match "$out" 'is that of \[export a\] in line 1 too'

rc=0
out=$("$nbdswapd" --config "$tmp/missing" 2>&1) || rc=$?
[ "$rc" = 3 ] || fail "exit status $rc, not 3"
must_match "$out" "$tmp/missing: No such file"
for bad in --nonsense --config "x y"; do
    rc=0
    # shellcheck disable=SC2086
    "$nbdswapd" $bad >"$tmp/out" 2>&1 || rc=$?
    [ "$rc" = 2 ] || fail "$bad: exit status $rc, not 2"
done
