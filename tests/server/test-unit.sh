#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The service unit is one that systemd understands.
. "${srcdir:-.}/tests/functions.sh" || exit 1
requires systemd-analyze --version

# verify wants the program to exist where the unit says.
unit=$tmp/nbdswapd.service
sed -e "s|^ExecStart=[^ ]*|ExecStart=$builddir/server/nbdswapd|" -e '/^Documentation=/d' "$builddir/conf/nbdswapd.service" >"$unit"
grep -q "^ExecStart=$builddir" "$unit" || fail "the unit has no ExecStart"
if grep -n '@' "$builddir/conf/nbdswapd.service" | grep -v '@system-service'; then fail "something was not filled in"; fi
rc=0
out=$(timeout 60 systemd-analyze verify "$unit" 2>&1) || rc=$?
must_not=$(grep -F "$unit" <<<"$out" || true)
[ "$rc" = 0 ] && [ -z "$must_not" ] || {
    # In containers systemd-analyze may be unable to look at units at all.
    grep -qiE 'failed to (initialize|connect)|host is down' <<<"$out" && skip "systemd-analyze does not work here: $out"
    fail "systemd-analyze verify: $out"
}
