#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A worker does not answer for sessions that it is to go on with: those that were handed down are cut in the end, and those that waited for their
# turn have it then.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/server/fake.sh"
requires_backing
requires jq --version

make_fake_conf '[export ws1]'
start_server
wait_until 60 export_is ws1 ready
for ((i = 0; i < 20; i++)); do attach "c$i" "ws1?client=A&slot=$i/20"; done
touch "$FAKE_DIR/silent-resume"
kill_worker
counts() { [ "$(field "[.sessions[]|select(.state==\"$1\")]|length")" = "$2" ]; }
counts resuming 16 || fail "handed down at once: $(field '[.sessions[]|.state]')"
wait_until 60 counts kept 0
[ "$(grep -c 'is cut: the worker does not go on with it' "$log")" = 16 ] || fail "not 16 were cut"
rm "$FAKE_DIR/silent-resume"
wait_until 60 none_waits
counts served 4 || fail "went on: $(field '[.sessions[]|.state]')"
live=0
for ((i = 0; i < 20; i++)); do
    tell "c$i" who 2>/dev/null || continue
    if hear "c$i"; then live=$((live + 1)); fi
done
[ "$live" = 4 ] || fail "$live of 4 go on"
