#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The control socket: bad input is answered and never ends the daemon; only its own user gets in.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires jq --version

make_conf '[export a]' "file = $tmp/missing.swap" 'provision = never' '[export b]' 'size = 1M'
launch_server
[ "$(stat -c %a "$tmp/control")" = 600 ] || fail "the socket's mode is $(stat -c %a "$tmp/control")"
fds() { find "/proc/$server_pid/fd" -mindepth 1 | wc -l; }
wait_until 30 export_is a failed
b_done() { export_is b ready || export_is b failed; }
wait_until 30 b_done
before=$(fds)

timeout 120 "$builddir/tests/server/control-abuse" "$tmp/control"

no_more_than_before() { [ "$(fds)" -le "$((before + 1))" ]; }
wait_until 30 no_more_than_before
[ "$(field .pid)" = "$server_pid" ] || fail "it is not the same daemon any more"
must_match "$(field '.exports[0].error')" 'missing.swap: does not exist'

# A second daemon does not take the socket away.
rc=0
sed "s|^listen.*|listen = unix:$tmp/other.sock|" "$conf" >"$tmp/second.conf"
timeout 20 "$nbdswapd" --config "$tmp/second.conf" >"$tmp/out" 2>&1 || rc=$?
[ "$rc" = 6 ] || fail "exit status $rc, not 6: $(cat "$tmp/out")"
must_match "$(cat "$tmp/out")" 'control socket: .* is in use by a running process'
[ "$(field .pid)" = "$server_pid" ] || fail "the second daemon took the control socket"

if [ "$(id -u)" = 0 ] && setpriv --version >"$tmp/out" 2>&1; then
    # Even where the file's mode would let others in.
    chmod 755 "$tmp"
    chmod 666 "$tmp/control"
    rc=0
    out=$(setpriv --reuid 65534 --clear-groups "$builddir/server/nbdswapctl" status --socket "$tmp/control" 2>&1) || rc=$?
    [ "$rc" != 0 ] || fail "another user got in"
    # (the build tree may be closed to other users; then there is nothing to look at)
    if [ "$rc" != 126 ] && [ "$rc" != 127 ]; then must_match "$out" 'only root and the daemon'; fi
fi

ctl stop || fail "stop"
wait_server || fail "it did not end with 0"
[ ! -e "$tmp/control" ] || fail "the control socket is left behind"
rc=0
out=$(ctl status 2>&1) || rc=$?
[ "$rc" = 5 ] || fail "status without a daemon: exit status $rc, not 5"
must_match "$out" 'cannot reach nbdswapd'
