#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A new connection takes the place of the one in its slot: not before that one has ended, and not for long if it does not; nobody else's.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/server/fake.sh"
requires_backing
requires jq --version

make_fake_conf '[export ws1]' '[export ws2]'
start_server
wait_until 60 export_is ws1 ready
wait_until 60 export_is ws2 ready

# epoch SLOT: the number of the session that has it.
epoch() { field "[.sessions[]|select(.slot==\"$1\" and .export==\"ws1\" and .state==\"served\")|.epoch]|max"; }

attach first 'ws1?client=A&slot=0/2'
back=ws1\?$generation
attach second 'ws1?client=A&slot=1/2'
attach third 'ws1?client=A'
attach elsewhere 'ws2?client=A&slot=0/2'
if asked '^end'; then fail "a session was ended for another slot, another export or none"; fi

# Another client gets nothing, and ends nothing.
connect other
tell other 'open ws1?client=B&slot=0/2'
hear other || fail "no answer"
must_match "$line" '^no .*in use by client A'
if asked '^end'; then fail "a session was ended for another client"; fi

# The same client, which begins anew: it waits, and is refused, and ends nothing.
connect anew
tell anew 'open ws1?client=A&slot=0/2'
hear anew || fail "no answer"
must_match "$line" '^no .*has not ended yet; try again later'
if asked '^end'; then fail "a session was ended for one that does not say what it comes back to"; fi
who first

# The same client again: the earlier one is ended, then the new one granted; the others stay.
attach again "$back&client=A&slot=0/2"
is_cut first
asked '^end 1$' || fail "not told to end it: $(cat "$FAKE_DIR/asked")"
for c in again second third elsewhere; do who "$c"; done
three() { [ "$(field '.exports[]|select(.name=="ws1")|.sessions')" = 3 ]; }
wait_until 30 three

# Not before it has ended.
touch "$FAKE_DIR/slow-end"
connect late
tell late "open $back&client=A&slot=1/2"
wait_until 30 asked '^end 2$'
rc=0
hear late 1 || rc=$?
[ "$rc" -gt 128 ] || fail "answered before the session that it supersedes had ended: $line"
[ "$(field '.sessions[]|select(.epoch==2)|.state')" = ending ] || fail "state: $(field '.sessions')"
rm "$FAKE_DIR/slow-end"
hear late || fail "no answer"
must_match "$line" '^ok '
is_cut second # by the daemon: the worker left its socket alone
if ! grep -q '^ended 2$' "$FAKE_DIR/asked"; then fail "granted before the worker said so"; fi

# Two that want one slot: the last one has it.
touch "$FAKE_DIR/slow-end"
connect p
connect q
n=$(epoch 1/2)
tell p "open $back&client=A&slot=1/2"
wait_until 30 asked "^end $n\$"
tell q "open $back&client=A&slot=1/2"
sleep 0.2
rm "$FAKE_DIR/slow-end"
is_cut late
hear q || fail "no answer"
must_match "$line" '^ok '
who q
# p was granted and ended at once, refused or cut, as it came: in no case does it go on.
rc=0
hear p || rc=$?
[ "$rc" -le 1 ] || fail "p: $rc"
case $rc$line in
0ok*) is_cut p ;;
0no*) must_match "$line" 'another connection of the same client' ;;
esac
who q

# One that does not end: refused, to be tried again, and had once it has ended.
touch "$FAKE_DIR/slow-end"
connect never
tell never "open $back&client=A&slot=0/2"
hear never || fail "no answer"
must_match "$line" '^no .*has not ended yet; try again later'
rm "$FAKE_DIR/slow-end"
attach at_last "$back&client=A&slot=0/2"
who at_last

# Superseded and its worker killed before it could say so: it does not come back.
touch "$FAKE_DIR/slow-end"
connect last
n=$(epoch 0/2)
tell last "open $back&client=A&slot=0/2"
wait_until 30 asked "^end $n\$"
kill_worker
rm "$FAKE_DIR/slow-end"
is_cut at_last
if asked "^resume $n "; then fail "a superseded session was handed down"; fi
who third
wait_until 30 none_waits
ctl stop --force || fail "stop"
wait_server || fail "exit status $?"
