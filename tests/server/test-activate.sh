#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdswapctl activate and check, with and without the daemon; check touches nothing.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
nbdswapctl=$builddir/server/nbdswapctl

# A file with holes: check refuses it, with the reason, and leaves everything as it was.
truncate -s 1M "$tmp/holes"
chmod 600 "$tmp/holes"
look() { stat -c '%s %b %Y %Z %i' "$tmp/holes"; }
before=$(look)
rc=0
out=$("$nbdswapctl" check "$tmp/holes") || rc=$?
[ "$rc" = 4 ] || fail "check of a file with holes: exit status $rc, not 4"
must_match "$out" '^fail +holes '
rc=0
json=$("$nbdswapctl" check --json "$tmp/holes") || rc=$?
[ "$rc" = 4 ] || fail "check --json: exit status $rc, not 4"
[ "$(jq -r .verdict <<<"$json")" = fail ] || fail "$json"
[ "$(look)" = "$before" ] || fail "check touched the file: $before, now $(look)"
rc=0
"$nbdswapctl" check "$tmp/missing" 2>"$tmp/err" || rc=$?
[ "$rc" = 1 ] || fail "check of a missing file: exit status $rc, not 1"
[ ! -e "$tmp/missing" ] || fail "check made a file"

# Without the daemon.
out=$("$nbdswapctl" activate --file "$tmp/made" --size 2M)
must_match "$out" "made: ready on .*, 2 MiB"
"$nbdswapctl" check "$tmp/made" >"$tmp/out" || fail "check refuses what activate made: $(cat "$tmp/out")"
[ "$(stat -c %a "$tmp/made")" = 600 ] || fail "mode $(stat -c %a "$tmp/made")"
for bad in "" "--file $tmp/x ws1" "ws1 ws2" "ws1 --size 1M" "ws1 --rewrite --no-rewrite" "--file $tmp/x --size 1Q"; do
    rc=0
    # shellcheck disable=SC2086
    "$nbdswapctl" activate $bad >"$tmp/out" 2>&1 || rc=$?
    [ "$rc" = 2 ] || fail "activate $bad: exit status $rc, not 2"
done

# With it: at the start an existing file is never written over; activate does it, or not if told so.
make_conf '[export made]' "file = $tmp/made" 'size = 2M' '[export holes]' "file = $tmp/holes" 'size = 1M' '[export gone]' \
    "file = $tmp/none" 'provision = never'
start_server
wait_until 60 export_is made ready
wait_until 60 export_is holes failed
wait_until 60 export_is gone failed
must_match "$(ctl status)" '^holes: .*has no trailer'
[ "$(look | cut -d' ' -f1-2)" = "$(cut -d' ' -f1-2 <<<"$before")" ] || fail "the start wrote to an existing file"
rc=0
out=$(ctl activate holes --no-rewrite 2>&1) || rc=$?
[ "$rc" = 4 ] || fail "activate --no-rewrite: exit status $rc, not 4"
must_match "$(ctl activate holes)" '^holes: active, 1 MiB$'
export_is holes ready || fail "holes is $(field '.exports[1].state')"
must_match "$(ctl activate holes)" '^holes: was active already, 1 MiB$'
nbdinfo "$(uri holes)" >"$tmp/out" || fail "it cannot be had"
# It was opened by the worker, which has to give it back.
must_match "$(ctl activate holes --rewrite)" '^holes: active, 1 MiB$'
nbdinfo "$(uri holes)" >"$tmp/out" || fail "it cannot be had after the second activation"

# What the daemon holds nobody else can have.
rc=0
out=$("$nbdswapctl" activate --file "$tmp/made" 2>&1) || rc=$?
[ "$rc" = 6 ] || fail "activate --file of an active file: exit status $rc, not 6"
must_match "$out" 'made: is already activated by process [0-9]+ on '
# But once it is gone, a failed one can be tried again.
"$nbdswapctl" activate --file "$tmp/none" --size 1M >"$tmp/out"
rc=0
out=$(ctl activate gone 2>&1) || rc=$?
[ "$rc" = 4 ] || fail "activate with another size: exit status $rc, not 4"
must_match "$out" 'was made for 1 MiB, the size asked for is 4 MiB'
must_match "$(ctl activate gone --rewrite)" '^gone: active, 4 MiB$'
