#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# While sessions wait for the next worker to take them over, nobody else gets their places.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/server/fake.sh"
requires_backing
requires jq --version

connections=2
make_fake_conf '[export ws1]' '[export ws2]' '[export ws3]'
start_server
for x in ws1 ws2 ws3; do wait_until 60 export_is $x ready; done
attach a 'ws1?client=A&slot=0/1'
back=ws1\?$generation
attach b 'ws2?client=B'

# The worker has not taken them over yet, and hears of nothing else meanwhile; what the daemon says is in the log.
touch "$FAKE_DIR/silent-resume"
kill_worker
connect c
tell c 'open ws3?client=C'
wait_until 30 said 'refused to .*: all 2 connections are in use, or kept for clients'
rm "$FAKE_DIR/silent-resume"
hear c || fail "no answer"
must_match "$line" '^no .*all 2 connections'
for c in a b; do
    who "$c"
    [ "$count" = 1 ] || fail "$c: $count"
done
wait_until 30 none_waits

# A client may take its own session's place, and one that has left leaves a place.
who_waits() { field '[.sessions[]|.state]|join(" ")'; }
touch "$FAKE_DIR/never-ready"
before=$(worker_pid)
kill -KILL "$before"
kept() { [ "$(who_waits)" = 'kept kept' ] && [ "$(worker_pid)" != "$before" ]; }
wait_until 60 kept
hang_up b
one() { [ "$(field '.sessions|length')" = 1 ]; }
wait_until 30 one
rm "$FAKE_DIR/never-ready"
wait_until 60 worker_ready
who a
attach d 'ws3?client=C'
attach a2 "$back&client=A&slot=0/1"
