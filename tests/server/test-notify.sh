#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The service manager hears when the server is ready, reloads and stops; the worker cannot talk to it.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version

"$builddir/tests/server/notify-listen" "$tmp/notify" >"$tmp/heard" &
cleanup_fn end_process "$!"
wait_until 10 test -S "$tmp/notify"
export NOTIFY_SOCKET=$tmp/notify

heard() { grep -qE "$1" "$tmp/heard"; }
make_conf '[export a]'
launch_server
wait_until 60 heard '^READY=1$'
wait_until 60 heard '^STATUS=worker ready, 1 of 1 exports ready, 0 sessions$'
if tr '\0' '\n' <"/proc/$(worker_pid)/environ" | grep '^NOTIFY_SOCKET='; then fail "the worker has the notification socket"; fi
kill -HUP "$server_pid"
wait_until 30 heard '^RELOADING=1$'
wait_until 30 heard '^MONOTONIC_USEC=[0-9]+$'
ready_again() { [ "$(grep -c '^READY=1$' "$tmp/heard")" = 2 ]; }
wait_until 30 ready_again
kill -TERM "$server_pid"
wait_until 30 heard '^STOPPING=1$'
wait_server || fail "exit status $?"
