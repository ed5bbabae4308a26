#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdswapctl reload-worker: another program of the same name takes over, and sessions go on; with one that does not run they wait.  Where sessions
# would be cut it takes --force.  Without io_uring nbdkit takes the place of the native engine, until the next upgrade.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/server/fake.sh"
requires nbdkit --version
requires test -e "$builddir/.libs/nbdkit-swap-plugin.so"
requires_backing
requires jq --version
requires qemu-io --version

make_fake_conf '[export ws1]'
start_server
wait_until 60 export_is ws1 ready
attach a 'ws1?client=A&slot=0/1'
who a
first=$pid was="$socket $memory"

# replace FILE: it takes the program's place, as a package would do it.
replace() {
    cp "$1" "$program.new"
    mv "$program.new" "$program"
}
same_session() {
    who a
    [ "$pid" != "$first" ] || fail "served by the old worker"
    [ "$count" = "$1" ] || fail "count: $count, not $1"
    [ "$socket $memory" = "$was" ] || fail "another session"
}
replace "$fake"
out=$(ctl reload-worker --wait) || fail "upgrade: $?"
must_match "$out" '^worker [0-9]+ \(native\) serves; 1 sessions went on after [0-9]+ ms, 0 were cut$'
wait_until 30 asked '^complete ws1'
[ "$(tail -n 4 "$FAKE_DIR/asked" | cut -d ' ' -f 1 | tr '\n' ' ')" = 'drain started resume complete ' ] || fail "order: $(cat "$FAKE_DIR/asked")"
same_session 2
[ "$(field .worker.restarts)" = 0 ] || fail "it counts as a death"
[ "$(field .exports[0].state)" = ready ] || fail "settled for nothing: $(field .exports[0].state)"
must_match "$(readlink "/proc/$pid/exe")" "^$program\$"

# No program at all: the worker stays.
mv "$program" "$program.away"
rc=0
out=$(ctl reload-worker --wait 2>&1) || rc=$?
[ "$rc" = 1 ] || fail "reload-worker to no program: $rc: $out"
must_match "$out" 'nbdswap-engine cannot be run \(No such file or directory\), so the worker stays as it is'
mv "$program.away" "$program"
[ "$(worker_pid)" = "$pid" ] || fail "not the worker that was there"
[ "$(field '.sessions[0].state')" = served ] || fail "the session: $(field .sessions)"

# A program that does not run: said, and sessions wait for one that does.
first=$pid
printf '#!/bin/sh\nexit 1\n' >"$tmp/broken"
chmod 755 "$tmp/broken"
replace "$tmp/broken"
rc=0
out=$(ctl reload-worker --wait 2>&1) || rc=$?
[ "$rc" = 1 ] || fail "reload-worker to a broken program: $rc: $out"
must_match "$out" 'did not come into service: worker [0-9]+ exited with status 1; it is tried again, and sessions wait for it'
[ "$(field '.sessions[0].state')" = kept ] || fail "the session is not kept: $(field .sessions)"
replace "$fake"
ctl reload-worker --wait >"$tmp/out" || fail "upgrade: $?"
same_session 3

# One that does not finish what is at the backend is killed in time.
touch "$FAKE_DIR/slow-drain"
first=$pid
ctl reload-worker --wait >"$tmp/out" || fail "upgrade: $?"
rm "$FAKE_DIR/slow-drain"
same_session 4
said 'did not finish its requests in time and is killed' || fail "not said in the log"

# Another listening socket means another worker, and cuts nobody either.
first=$pid
sed -i "s|^listen = .*|& unix:$tmp/more.sock|" "$conf"
must_match "$(ctl reload)" '^changed: listen$'
wait_until 60 other_worker "$first"
wait_until 60 none_waits
same_session 5
test -S "$tmp/more.sock" || fail "no socket was added"

# No io_uring: nbdkit, once said; it cannot go on with the session.
touch "$FAKE_DIR/no-uring"
kill_worker
is_cut a
[ "$(field .worker.engine)" = nbdkit ] || fail "engine: $(field .worker.engine)"
[ "$(grep -c 'the native engine cannot run here' "$log")" = 1 ] || fail "not said once"
port=$(field '.listen[0]')
uri="nbd://$port/ws1%3Fclient%3DA"
must_match "$(printf 'write -P 0x5c 0 64k\nread -P 0x5c 0 64k\n' | timeout 60 qemu-io -f raw "$uri" 2>&1)" 'read 65536/65536'

# Sessions of nbdkit are not cut without --force.
mkfifo "$tmp/hold"
qemu-io -f raw "$uri" <"$tmp/hold" >"$tmp/held.out" 2>&1 &
cleanup_fn end_process $!
exec {hold}>"$tmp/hold"
one() { [ "$(field '.sessions|length')" = 1 ]; }
wait_until 30 one
before=$(worker_pid)
rc=0
out=$(ctl reload-worker 2>&1) || rc=$?
[ "$rc" = 6 ] || fail "reload-worker under a session of nbdkit: $rc: $out"
must_match "$out" '1 sessions would be cut'
[ "$(worker_pid)" = "$before" ] || fail "replaced all the same"
rm "$FAKE_DIR/no-uring"
ctl reload-worker --force --wait >"$tmp/out" || fail "reload-worker --force: $?"
must_match "$(cat "$tmp/out")" '^worker [0-9]+ \(native\) serves$'
exec {hold}>&-
kill -TERM "$server_pid"
wait_server || fail "exit status $?"
