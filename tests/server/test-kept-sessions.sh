#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The sessions of a native worker that dies go to the next one with their own socket and memory; one that cannot go on is cut, with
# its reason; nothing but its socket's end ends one while no worker is there.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/server/fake.sh"
requires_backing
requires jq --version

make_fake_conf '[export ws1]' '[export ws2]'
start_server
wait_until 60 export_is ws1 ready
wait_until 60 export_is ws2 ready
asked 'started with 1 LISTEN_FDS, 70 connections, a pool of 8388608' || fail "not started as it should: $(cat "$FAKE_DIR/asked")"
[ "$(field .worker.engine)" = native ] || fail "engine: $(field .worker.engine)"

attach a0 'ws1?client=A&slot=0/2'
attach a1 'ws1?slot=1/2&client=A'
attach b 'ws2?client=B'
declare -A was
remember() {
    who "$1"
    was[$1]="$count $socket $memory"
}
# went_on NAME: the same session, counted on, in the present worker.
went_on() {
    read -r old_count old_socket old_memory <<<"${was[$1]}"
    who "$1"
    [ "$pid" = "$(worker_pid)" ] || fail "$1: served by $pid, not by $(worker_pid)"
    [ "$count" = $((old_count + 1)) ] || fail "$1: $count after $old_count: another session's memory"
    [ "$socket" = "$old_socket" ] || fail "$1: another socket"
    [ "$memory" = "$old_memory" ] || fail "$1: another memory"
    was[$1]="$count $socket $memory"
}
for c in a0 a1 b; do remember "$c"; done
[ "$(field '[.sessions[]|.slot]|join(" ")')" = '0/2 1/2 ' ] || fail "slots: $(field '[.sessions[]|.slot]|join(" ")')"

# Killed, three times; what a client sends meanwhile is answered by the next one.
for n in 1 2 3; do
    kill_worker
    for c in a0 a1 b; do went_on "$c"; done
    wait_until 30 none_waits
    [ "$(field .worker.restarts)" = "$n" ] || fail "restarts: $(field .worker.restarts)"
    [ "$(field .worker.resumption.resumed)" = 3 ] || fail "resumed: $(field .worker.resumption)"
    [ "$(field .worker.resumption.cut)" = 0 ] || fail "cut: $(field .worker.resumption)"
done
[ "$(field .worker.resumption.ms)" -ge 0 ] || fail "no pause: $(field .worker.resumption)"
must_match "$(ctl status --sessions)" 'at the last 3 sessions went on after [0-9]+ ms, 0 were cut'
must_match "$(ctl status --sessions)" '^ws1: session 1 served, client A from 10.0.0.1:5, slot 0/2, [0-9]+ bytes received, [0-9]+ sent$'
[ "$(grep -c '^resume .* blame 0$' "$FAKE_DIR/asked")" = 9 ] || fail "blamed for a kill: $(cat "$FAKE_DIR/asked")"
[ "$(grep -oE '^resume [0-9]+ ws[12] .* reserve [0-9]+' "$FAKE_DIR/asked" | awk '{ print $3, $7 }' | sort -u | tr '\n' ' ')" = 'ws1 0 ws2 1 ' ] ||
    fail "reserves: $(cat "$FAKE_DIR/asked")"

# Nobody else gets the export in the pause, however long it is: while no worker comes into service the sessions are kept.
touch "$FAKE_DIR/never-ready"
before=$(worker_pid)
kill -ABRT "$before"
started_anew() { [ "$(field .worker.state)" = starting ] && [ "$(worker_pid)" != "$before" ]; }
wait_until 60 started_anew
[ "$(field '[.sessions[]|.state]|unique|join(" ")')" = kept ] || fail "states: $(field '[.sessions[]|.state]')"
must_match "$(ctl status)" 'Sessions wait for it'
# One client goes meanwhile: that alone ends its session.
hang_up b
wait_until 30 said 'export ws2: session 3 of B .* has ended: its client closed the connection in the pause'
[ "$(field '.exports[]|select(.name=="ws2")|.client')" = null ] || fail "a client that has left still has its export"
# One that never had them is killed: what the one before it died of is not forgotten for that.
before=$(worker_pid)
kill -KILL "$before"
wait_until 60 started_anew
rm "$FAKE_DIR/never-ready"
wait_until 60 worker_ready
for c in a0 a1; do went_on "$c"; done
asked '^resume 1 ws1 .* blame 1$' || fail "not told that the worker died by itself: $(cat "$FAKE_DIR/asked")"
connect other
tell other 'open ws1?client=C'
hear other || fail "no answer"
must_match "$line" '^no .*in use by client A'

# A session that the worker refuses is cut, and says why; the export is kept for its client.
touch "$FAKE_DIR/refuse-resume"
kill_worker
is_cut a0
is_cut a1
said 'export ws1: session 1 of A \(10.0.0.1:5\) is cut: the fake engine was told to refuse' || fail "no reason in the log"
tell other who
is_cut other # never had a session, so nobody kept it
rm "$FAKE_DIR/refuse-resume"
connect other
tell other 'open ws1?client=C'
hear other || fail "no answer"
must_match "$line" '^no .*is kept for client A'
attach a0 'ws1?client=A&slot=0/2'

# Many at once.
for ((i = 0; i < 40; i++)); do attach "m$i" "ws1?client=A&slot=$((i + 2))/50"; done
kill_worker
for ((i = 0; i < 40; i++)); do
    who "m$i"
    [ "$count" = 1 ] || fail "m$i: $count"
done
wait_until 30 none_waits
[ "$(field .worker.resumption.resumed)" = 41 ] || fail "resumed: $(field .worker.resumption)"

# Nobody new begins on an export before the worker has been told that it has all sessions that were there.
touch "$FAKE_DIR/silent-resume"
: >"$FAKE_DIR/asked"
kill_worker
wait_until 60 asked '^resume '
connect new
tell new 'open ws1?client=A&slot=49/50'
wait_until 60 asked '^opens ws1.*slot=49/50'
rm "$FAKE_DIR/silent-resume"
hear new || fail "no answer"
must_match "$line" '^ok '
order=$(grep -oE '^(resume|complete|opened)' "$FAKE_DIR/asked" | uniq | tr '\n' ' ')
[ "$order" = 'resume complete opened ' ] || fail "in this order: $order"
wait_until 30 none_waits
hang_up new

# A session that is in hand at three deaths in a row may be what the workers die of; one of which nothing is asked is not, and workers that
# did not come into service, or were killed, do not count.
for ((i = 1; i < 40; i++)); do hang_up "m$i"; done
two() { [ "$(field '.sessions|length')" = 2 ]; }
wait_until 30 two
printf wh >&"${conn[m0]}" # more of the line is to come
kill_worker ABRT
kill_worker
kill_worker ABRT
who a0
[ "$(field '.sessions|length')" = 2 ] || fail "cut after two deaths"
kill_worker ABRT
is_cut m0
said 'session [0-9]+ of A .* is cut: its requests were in hand at three deaths of workers in a row' || fail "no reason in the log"
who a0

# At the end they are cut.
ctl stop --force || fail "stop"
wait_server || fail "exit status $?"
is_cut a0
