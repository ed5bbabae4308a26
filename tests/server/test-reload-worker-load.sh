#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdswapctl reload-worker under full load: the native worker is replaced again and again, each time by another file of the same name, and no
# connection ends, no request fails, no page is wrong, and nothing is left behind that would have to be settled.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/engine/resume.sh"
requires_resume

resume_conf '[export plain]' 'check = none' '[export checked]'
program=$tmp/nbdswap-engine
cp "$builddir/server/nbdswap-engine" "$program"
sed -i "s|^native = .*|native = $program|" "$conf"
start_server
for name in plain checked; do
    wait_until 60 export_is "$name" ready
    start_check "$name" --connections 2 --depth 32 --pages 1024
done
four() { [ "$(field '.sessions|length')" = 4 ]; }
wait_until 60 four

longest=0
for n in 1 2 3 4 5 6 7 8; do
    rest $((RANDOM % 400))
    before=$(worker_pid)
    cp "$program" "$program.new"
    mv "$program.new" "$program"
    out=$(ctl reload-worker --wait) || fail "reload-worker $n: $? $out"
    must_match "$out" '^worker [0-9]+ \(native\) serves; 4 sessions went on after [0-9]+ ms, 0 were cut$'
    ms=$(sed 's/.* after \([0-9]*\) ms.*/\1/' <<<"$out")
    ((ms <= longest)) || longest=$ms
    [ "$(worker_pid)" != "$before" ] || fail "the old worker still serves"
    [ "$(stat -L -c %i "/proc/$(worker_pid)/exe")" = "$(stat -c %i "$program")" ] || fail "not the new program"
    check_runs
done
rest 500
check_runs
for name in plain checked; do
    end_check "$name"
    [ "$(value operations)" -ge 1000 ] || fail "$name: $said"
done
[ "$(field .worker.restarts)" = 0 ] || fail "an upgrade counts as a death"
if grep -E ' is cut: |with [0-9]+ pages in flight|in time and is killed' "$log"; then fail "not a replacement in order"; fi
echo "$n upgrades, the longest pause $longest ms"
