#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Who connects anew while its earlier session is being handed down to the next worker gets its place as soon as that has said that it cannot go on
# with it.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/server/fake.sh"
requires_backing
requires jq --version

make_fake_conf '[export ws1]'
start_server
wait_until 60 export_is ws1 ready
attach a 'ws1?client=A&slot=0/1'
touch "$FAKE_DIR/silent-resume" "$FAKE_DIR/refuse-resume"
kill_worker
is_resuming() { [ "$(field '.sessions[0].state')" = resuming ]; }
wait_until 30 is_resuming
connect b
tell b "open ws1?$generation&client=A&slot=0/1"
wait_until 30 said 'session 1 ends, for its client connects anew'
rm "$FAKE_DIR/silent-resume"
hear b || fail "no answer"
[[ $line = ok\ * ]] || fail "open: $line"
is_cut a
