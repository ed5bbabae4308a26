#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# While no worker is there, what sessions have left in memory (pages that were read or are to be written, and what is known of the requests)
# stays there: the daemon has it locked.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/server/fake.sh"
requires_backing
requires jq --version
[ "$(id -u)" = 0 ] || skip "needs root"
[ -z "$sanitizer" ] || skip "sanitizers turn mlock off"

# locked_kib NAME: KiB of the memfd of this name that the daemon has mapped, with each page of them there and locked.
locked_kib() {
    awk -v name="/memfd:$1" '
        / \// || /^[0-9a-f]+-[0-9a-f]+ / { mine = index($0, name) }
        mine && /^Size:/ { size = $2 }
        mine && /^Rss:/ { rss = $2 }
        mine && /^VmFlags:/ && / lo( |$)/ && size == rss { sum += size }
        END { print sum + 0 }' "/proc/$server_pid/smaps"
}

make_fake_conf '[export ws1]' '[export ws2]'
start_server
wait_until 60 export_is ws1 ready
wait_until 60 export_is ws2 ready
# Nobody needs the pool before a client is there.
pool=$(locked_kib nbdswap-pool)
((pool <= 64)) || fail "$pool KiB of the pool without a client"

attach a ws1
attach b ws2
touch "$FAKE_DIR/never-ready"
before=$(worker_pid)
kill -KILL "$before"
kept() { [ "$(field '[.sessions[]|.state]|join(" ")')" = "kept kept" ] && [ "$(worker_pid)" != "$before" ]; }
wait_until 60 kept
pool=$(locked_kib nbdswap-pool)
sessions=$(locked_kib nbdswap-session)
((pool >= 8192 + 2 * 512)) || fail "only $pool KiB of the pool are locked"
((sessions >= 2 * 128)) || fail "only $sessions KiB of the sessions' memory are locked"

# What is over is given back.
hang_up a
hang_up b
none() { [ "$(field '.sessions|length')" = 0 ]; }
wait_until 30 none
sessions=$(locked_kib nbdswap-session)
((sessions == 0)) || fail "$sessions KiB of sessions that are over"
