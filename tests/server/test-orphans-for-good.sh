#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A worker dies and what it left at the backend cannot be waited for: every page is lost. Where pages have checks they can be written anew, for
# what lands over them is found; without checks nobody gets the export before an administrator activates it again.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
nbdcmd=$builddir/tests/plugin/nbdcmd
# The barrier (fallocate) is refused on a file that nobody may change.
touch "$tmp/probe"
chattr +i "$tmp/probe" 2>/dev/null || skip "needs the right to make files immutable (chattr +i)"
chattr -i "$tmp/probe"

make_conf '[export checked]' '[export plain]' 'check = none'
start_server
both() { export_is checked "$1" && export_is plain "$2"; }
wait_until 60 both ready ready
for x in checked plain; do timeout 30 "$nbdcmd" "$(uri $x me)" write 0 64k 7; done
cleanup_fn chattr -i "$tmp/checked.swap" "$tmp/plain.swap" # or they could not be removed
chattr +i "$tmp/checked.swap" "$tmp/plain.swap"
worker=$(worker_pid)
kill -KILL "$worker"
replaced() { worker_ready && [ "$(worker_pid)" != "$worker" ]; }
wait_until 60 replaced
wait_until 60 both ready lost
chattr -i "$tmp/checked.swap" "$tmp/plain.swap"

must_match "$(grep checked "$log")" 'cannot be waited for .*EVERY PAGE IS LOST'
if timeout 30 "$nbdcmd" "$(uri checked me)" read 0 4k 7 2>"$tmp/err"; then fail "a page of before was handed out"; fi
timeout 30 "$nbdcmd" "$(uri checked me)" write 0 64k 8 read 0 64k 8 || fail "checked: not writable anew"

must_match "$(grep plain "$log")" 'EXPORT plain IS LOST, .*check = none'
if timeout 30 "$nbdcmd" "$(uri plain me)" write 0 64k 8 2>"$tmp/err"; then fail "an export that nobody may have was written"; fi
wait_until 30 grep -q 'refused .*"plain" is lost: .*nbdswapctl activate plain' "$log"
ctl activate plain || fail "activate"
wait_until 60 export_is plain ready
timeout 30 "$nbdcmd" "$(uri plain me)" write 0 64k 9 read 0 64k 9 || fail "plain: not to be had again"
