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

# What its worker needs beyond the ordinary: a call that the unit's filter does not have kills it.
words=$(sed -n 's/^SystemCallFilter=//p' "$unit")
for word in $words; do
    case $word in
    @*) timeout 60 systemd-analyze syscall-filter "$word" ;; # groups of it by name, with what they hold
    *) echo "$word" ;;
    esac
done >"$tmp/calls"
while group=$(grep -om1 '^ *@.*' "$tmp/calls"); do
    sed -i "/^ *${group##* }\$/d" "$tmp/calls"
    timeout 60 systemd-analyze syscall-filter "${group##* }" | tail -n +2 >>"$tmp/calls"
done
for call in seccomp landlock_create_ruleset landlock_restrict_self capset io_uring_setup io_uring_enter io_uring_register \
    memfd_create mlock mlockall dup3 pidfd_open pidfd_send_signal setpriority close_range statx; do
    grep -qx " *$call" "$tmp/calls" || fail "SystemCallFilter of the unit lacks $call"
done
