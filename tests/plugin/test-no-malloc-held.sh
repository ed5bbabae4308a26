#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Nor does nbdkit take memory while the backend gives errors: requests are held and tried again, messages are written, and over 20,000
# requests there is no call of malloc and the like in the whole process and no page fault in any thread.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
no_sanitizers "the sanitizer allocates"
plugin=$builddir/.libs/nbdkit-swapfault-plugin.so
[ -e "$plugin" ] || fail "$plugin was not built"

head -c 4096 /dev/zero >"$tmp/count"
preload=$builddir/.libs/countalloc.so
[ -e "$preload" ] || fail "$preload was not built"
export COUNTALLOC=$tmp/count
refused="errno=ETIMEDOUT,rate=0.05,seed=3,trigger=$tmp/on"
export NBDSWAP_FAULTS="rw.read:$refused;rw.write:$refused" # (a flush that failed is not tried again: its error is reported once)
NBDKIT_OPTIONS=(-t 8)
start_nbdkit file="$disk/m.swap" size=64M
mkfifo "$tmp/go"

count() {
    od -An -tu8 -N8 "$tmp/count" | tr -d ' '
}
faults() {
    cat /proc/"$pid"/task/*/stat | sed 's/^.*) //' | awk '{ n += $8 + $10 } END { print n }'
}
paused() {
    [ "$(grep -c paused "$tmp/said")" -ge "$1" ]
}

timeout 400 "$nbdload" "$uri" 4 16 6000x32 10000 pause 20000 pause <"$tmp/go" >"$tmp/said" 2>&1 &
load=$!
exec 5>"$tmp/go"
wait_until 200 paused 1
before=$(count)
faults_before=$(faults)
touch "$tmp/on" # the first error of all is met in here
echo >&5
wait_until 300 paused 2
after=$(count)
faults_after=$(faults)
echo >&5
wait "$load" || fail "the load: $(cat "$tmp/said")"
rm "$tmp/on"
wait_until 10 grep -q 'm.swap: .*Connection timed out: held and tried again' "$log"
stop_nbdkit
echo "calls for memory over 20000 requests, one in 20 refused: $((after - before)); page faults: $((faults_after - faults_before))"
[ "$after" = "$before" ] || fail "$((after - before)) calls for memory while requests were held"
[ "$faults_after" = "$faults_before" ] || fail "$((faults_after - faults_before)) page faults while requests were held"
