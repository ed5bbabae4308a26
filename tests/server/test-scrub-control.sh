#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A scrub in the background: under heavy writing it finds nothing wrong, it can be hurried, stopped, goes on over the worker's death,
# and ends with its export and with the daemon.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires nbdcopy --version
requires sh -c 'fio --enghelp | grep -w nbd'

# of NAME JQ-PATH: of its last scrub.
of() { ctl scrub "$1" --status --json 2>/dev/null | jq -r "$2"; }
state_is() { [ "$(of "$1" .state)" = "$2" ]; }
under_way() { [ "$(of "$1" .verified)" -gt 0 ]; }

make_conf '[export busy]' 'size = 2M' '[export slow]' 'size = 64M'
start_server
wait_until 60 export_is busy ready
wait_until 60 export_is slow ready
head -c 2097152 /dev/urandom >"$tmp/one"
head -c 67108864 /dev/urandom >"$tmp/slow"
nbdcopy "$tmp/slow" "$(uri slow)"

# A client writes all of it at random, over and over; until each page was verified ten times beside that.
nbdcopy "$tmp/one" "$(uri busy)"
fio --name=w --ioengine=nbd --uri="$(uri busy)" --rw=randwrite --bs=4k --iodepth=64 --size=2M --refill_buffers --time_based \
    --runtime=600 >"$tmp/fio.out" 2>&1 &
writer=$!
cleanup_fn end_process "$writer"
written() { [ "$(field '.exports[0].counters.writes')" -gt "$1" ]; }
wait_until 60 written 5000
verified=0
skipped=0
rounds=0
before=$(field '.exports[0].counters.writes')
while ((verified < 5120 || rounds < 10)); do
    kill -0 "$writer" || fail "the writer ended: $(cat "$tmp/fio.out")"
    ctl scrub busy --wait --rate 1024 >"$tmp/out" 2>&1 || fail "scrub under writes: $(cat "$tmp/out")"
    [ "$(of busy '[.mismatched,.lost,.unreadable]|add')" = 0 ] || fail "scrub under writes: $(cat "$tmp/out")"
    verified=$((verified + $(of busy .verified)))
    skipped=$((skipped + $(of busy .skipped)))
    rounds=$((rounds + 1))
done
echo "$rounds rounds: $verified pages verified, $skipped skipped, beside $(($(field '.exports[0].counters.writes') - before)) writes"
end_process "$writer"
[ "$(field '.exports[0].counters.checks_failed')" = 0 ] || fail "checks have failed"

# In the background, at the lowest rate (64 s for all of it); asked for again it is the same one, at another rate.
ctl scrub slow --rate 1 >"$tmp/out"
must_match "$(cat "$tmp/out")" '^slow: scrub running'
wait_until 60 under_way slow
[ "$(of slow .rate)" = 1048576 ] || fail "rate $(of slow .rate)"
started=$(of slow .started)
ctl scrub slow >"$tmp/out"
[ "$(of slow '"\(.rate) \(.started)"')" = "1048576 $started" ] || fail "a second request began another"

# The worker dies: it pauses, goes on where it was, and nothing is wrong.
first=$(worker_pid)
nbdinfo "$(uri slow)" >"$tmp/out"
at=$(of slow .position)
kill -KILL "$first"
other_worker() { worker_ready && [ "$(worker_pid)" != "$first" ]; }
wait_until 60 other_worker
wait_until 60 export_is slow ready
further() { [ "$(of slow .position)" -gt "$1" ]; }
wait_until 60 further "$at"
[ "$(of slow '"\(.state) \(.started)"')" = "running $started" ] || fail "not the same scrub: $(of slow .)"

# Stopped: at once, and by hand.
ctl scrub slow --stop >"$tmp/out"
must_match "$(cat "$tmp/out")" '^slow: scrub stopped: by nbdswapctl scrub --stop'
[ "$(of slow '.verified == .position')" = true ] || fail "$(of slow .)"
ctl scrub slow --stop >"$tmp/out" # (nothing to stop any more)

# One who waits is told when it ends early, here since the export is released to be made anew.
rc=0
timeout 60 "$builddir/server/nbdswapctl" scrub --socket "$tmp/control" slow --rate 1 --wait >"$tmp/waited" 2>&1 &
waiter=$!
wait_until 30 state_is slow running
ctl activate slow --rewrite >"$tmp/out"
wait "$waiter" || rc=$?
[ "$rc" = 1 ] || fail "scrub --wait: exit status $rc, not 1: $(cat "$tmp/waited")"
must_match "$(cat "$tmp/waited")" 'scrub stopped: the export is released'
wait_until 60 export_is slow ready

# So it is when a reload takes the export away, or the daemon stops.  (The writer was killed, so the export was kept for it.)
nobody_has() { [ "$(field ".exports[]|select(.name==\"$1\")|.client")" = null ]; }
wait_until 60 nobody_has busy
ctl scrub busy --rate 1
sed -i '/^.export busy/,/^size/d' "$conf"
must_match "$(ctl reload)" '^removed: busy$'
gone() { ! field '.exports[].name' | grep -qx busy; }
wait_until 30 gone
nbdcopy "$tmp/slow" "$(uri slow)"
ctl scrub slow --rate 1
wait_until 60 under_way slow
began=$SECONDS
ctl stop || fail "stop"
wait_server || fail "stop: exit status $?"
((SECONDS - began < 30)) || fail "the scrub held up the stop for $((SECONDS - began)) s"
must_match "$(cat "$log")" 'export slow: the scrub has ended early, after [0-9]+ of 16384 pages: the daemon is stopping'
