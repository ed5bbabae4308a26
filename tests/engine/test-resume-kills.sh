#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The native worker is killed at random instants, also while it takes over from the one before, under several connections to each of five
# exports (plain, checked, sealed and with records for an end of the machine on the disk, and one in memory) with all kinds of requests in flight: no connection ends, no request
# fails, no page is wrong.  NBDSWAP_LONG=1: for an hour, millions of requests and thousands of kills.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/engine/resume.sh"
requires_resume

seconds=20 depth=64
[ -z "${NBDSWAP_LONG:-}" ] || seconds=3600 depth=128
memory_dir
exports=(plain checked kept onmem)
lines=('[export plain]' 'check = none' '[export checked]' '[export kept]' 'survive = host' '[export onmem]' "file = $memory/onmem.swap")
if could_swap; then
    echo "no sealed export: swap is on"
else
    exports+=(sealed)
    lines+=('[export sealed]' 'seal = aes-256-gcm')
fi
resume_conf "${lines[@]}"
start_server
for name in "${exports[@]}"; do wait_until 60 export_is "$name" ready; done
for name in "${exports[@]}"; do start_check "$name" --connections 2 --depth "$depth" --pages 1024; done

end=$((SECONDS + seconds))
while ((SECONDS < end)); do
    # One that has served for a second is replaced at once, others after a wait that doubles: so one of each kind, in turn.
    rest $((RANDOM % 8 ? 1005 + RANDOM % 300 : 2000))
    kill_worker
    for ((again = RANDOM % 3; again > 0; again--)); do
        rest $((5 + RANDOM % 120))
        kill_worker
    done
    check_runs
done
rest 1500 # and all is as before
check_runs
operations=0
for name in "${exports[@]}"; do
    end_check "$name"
    operations=$((operations + $(value operations)))
done
echo "$kills kills, $operations operations"
[ "$kills" -ge $((seconds / 3)) ] || fail "$kills kills in $seconds s"
[ "$operations" -ge $((seconds * 100)) ] || fail "$operations operations in $seconds s"
sessions=$(grep -c 'session [0-9]* of .* from ' "$log")
[ "$sessions" = $((2 * ${#exports[@]})) ] || fail "$sessions sessions were begun by $((2 * ${#exports[@]})) connections"
if grep ' is cut: ' "$log"; then fail "sessions were cut"; fi
must_match "$(ctl status --json | jq -c .worker)" '"state":"ready"'
