#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The daemon is killed after it told its worker to let no request begin any more, and before it ended the worker: that ends by itself, so that
# its clients find their link dead and do not wait for good.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version

make_conf '[export a]'
start_server
wait_until 60 export_is a ready
hold_open a me
worker=$(worker_pid)
is_gone() { ! kill -0 "$worker" 2>/dev/null; }
is_draining() { [ "$(field .worker.state)" = renewing ]; }
# Stopped, it finds the command and the end of the daemon at once when it goes on.
kill -STOP "$worker"
cleanup_fn kill -KILL "$worker"
ctl reload-worker --force >"$tmp/upgrade" 2>&1 &
upgrade=$!
wait_until 10 is_draining
kill -KILL "$server_pid"
wait "$server_pid" || true
wait "$upgrade" || true
! is_gone || fail "the worker has ended while it was stopped"
kill -CONT "$worker"
wait_until 30 is_gone
