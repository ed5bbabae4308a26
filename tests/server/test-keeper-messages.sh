#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What the keeper heeds of messages: it keeps and removes what its daemon says, and nothing that is malformed, too large or somebody else's.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/keeper.sh"

places() { find /run /dev/shm /tmp -maxdepth 1 -name 'nbdswapd.*' 2>/dev/null | sort; }
before=$(places)
start_keeper 0 50 50 obey
wait_until 30 started 1
nothing_left() { [ -z "$(comm -13 <(printf '%s\n' "$before") <(places))" ]; } # others' come and go
wait_until 10 nothing_left # of its socket
fds() { find "/proc/$keeper/fd" -mindepth 1 | wc -l; }

tell 'store a first'
tell 'store b second'
tell 'store a third'
tell 'store c fourth'
tell 'remove b'
three='a=first
a=third
c=fourth'
kill_child
is_handed "$three" "after a kill"
few=$(fds)

# Names: none is "stored"; what is none, too; removal needs one.
tell 'raw 2 FDSTORE=1'
tell 'raw 1 FDSTORE=1\nFDNAME=a:b'
tell 'raw 0 FDSTOREREMOVE=1'
tell 'raw 1 FDSTOREREMOVE=1\nFDNAME=x:y'
# Descriptors that nobody asked to keep, and a message to keep none.
tell 'raw 3 STATUS=with descriptors'
tell 'raw 0 FDSTORE=1\nFDNAME=none'
# Malformed and too large, with and without descriptors.
tell 'raw 1 FDSTORE=1\nFDNAME=nul\0\nX=1'
tell 'raw 1 BARRIER=1\nFDSTORE=1\nFDNAME=barrier'
tell 'raw 1 \n'
tell 'big 0 FDSTOREREMOVE=1\nFDNAME=a\n'
tell 'big 5 FDSTORE=1\nFDNAME=big\n'
tell 'raw 253 FDSTOREREMOVE=1\nFDNAME=nothing'
# Somebody else, and be it a child of the daemon's own, by the very same descriptor.
tell 'child 1 FDSTORE=1\nFDNAME=stranger'
tell 'child 0 FDSTOREREMOVE=1\nFDNAME=a'
kill_child
is_handed "$three
stored=raw
stored=raw
stored=raw" "after messages of all kinds"
[ "$(fds)" -le $((few + 3)) ] || fail "the keeper has $(fds) descriptors open, after $few"

# A hundred more in one message; all of one name go at once.
tell 'remove stored'
tell 'raw 200 FDSTORE=1\nFDNAME=many'
kill_child
[ "$(handed | grep -c '^many=raw$')" = 200 ] || fail "not 200 came back"
tell 'remove many'
kill_child
is_handed "$three" "after many were removed"

# What is polled goes when its other end does, also while nobody runs; FDPOLL=0 keeps it.
tell 'store-end polled'
tell 'store-end unpolled FDPOLL=0'
kill_child
is_handed "$three
unpolled=" "after their other ends were closed"

# What it said before it died counts, although that is heard after it.
n=$(starts)
kill -STOP "$keeper"
dying=$(child)
echo die >"$tmp/cmd"
is_dead() { grep -q '^State:.Z' "/proc/$dying/status"; }
wait_until 30 is_dead
kill -CONT "$keeper"
wait_until 30 started $((n + 1))
[ "$(handed | grep -c '^last[0-4]=words$')" = 5 ] || fail "last words were not heard: $(handed)"
nothing_wrong
must_match "$(cat "$tmp/log")" 'keeper: a message of the daemon.s is dropped: it is none of sd_notify'
must_match "$(cat "$tmp/log")" 'is dropped: it, or the number of its descriptors, is too large'

# Its end is that of all.
tell 'store last one'
kill -TERM "$keeper"
ended_with 7
[ -e "$tmp/signal-15" ] || fail "SIGTERM did not come through"
start_keeper 0 50 50 obey
wait_until 30 started 1
is_handed "" "by another keeper"
nothing_wrong
