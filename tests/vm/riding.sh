# SPDX-License-Identifier: BSD-3-Clause
# For tests in which a machine swaps on while what it swaps over comes and goes; source it after product.sh.
#
#	ride_begin client MIB            work of more memory than it has, again and again
#	ride_mark                        the longest pause since the last mark, in ms: in ride_ms
#	ride_on client                   waits until pages move again
#	ride_watch_is_whole client       the watch is two processes, locked and out of the OOM killer's sight
#	ride_end client                  no word was wrong, and the kernel has no I/O error
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2154 # for the guest; from functions.sh

ride_begin() {
    vm_put "$1" /run/work 700 <<EOF2
#!/bin/bash
trap : USR1
while [ ! -e /run/stop ]; do
    $swapload --size $2 --processes 2 --rounds 0 || exit 1
done
EOF2
    vm_spawn ride_work "$1" "$tmp/work" 3600 /run/work
    wait_until 180 grep -qE 'out [0-9]{4,},' "$tmp/work"
}

_ride_marks() { [ "$(grep -c '^swapload: mark' "$tmp/work")" -gt "$_ride_seen" ]; }
# Between two turns of the work nobody hears it, so it is asked again.
_ride_ask() {
    kill -USR1 "$ride_work" 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        ! _ride_marks || return 0
        sleep 0.3
    done
    return 1
}
ride_mark() {
    _ride_seen=$(grep -c '^swapload: mark' "$tmp/work" || true)
    wait_until 60 _ride_ask
    ride_ms=$(sed -n 's/^swapload: mark: longest pause \([0-9]*\)[0-9][0-9][0-9] us.*/\1/p' "$tmp/work" | tail -n 1)
    ride_ms=${ride_ms:-0}
}

_ride_pages() { vm_run "$1" 60 "awk '/^pswp/ { n += \$2 } END { print n }' /proc/vmstat"; }
_ride_moved() { (($(_ride_pages "$1") > $2 + 500)); }
ride_on() {
    kill -0 "$ride_work" 2>/dev/null || fail "the work has ended: $(tail -n 5 "$tmp/work")"
    wait_until 120 _ride_moved "$1" "$(_ride_pages "$1")"
}

ride_watch_is_whole() {
    vm_run "$1" 60 'n=0
        for p in $(pgrep -x nbdswap-watch); do
            n=$((n + 1))
            set -- $(awk "/^Pss:/ { p = \$2 } /^Locked:/ { l = \$2 } END { print p, l }" /proc/$p/smaps_rollup)
            echo "$p: $2 of $1 KiB locked, score $(cat /proc/$p/oom_score_adj), policy $(awk "{ print \$41 }" /proc/$p/stat)"
            [ $(($2 + 16)) -ge $1 ] && [ $2 -gt 100 ] && [ "$(cat /proc/$p/oom_score_adj)" = -1000 ] || exit 1
        done
        [ $n = 2 ]' || fail "the watch is not two locked processes that the OOM killer passes over"
}

# Messages of the driver about the links are what the test is about; an error of a request is not.
ride_end() {
    local lines
    vm_run "$1" 60 'touch /run/stop'
    wait "$ride_work" || fail "the machine's memory: $(tail -n 5 "$tmp/work")"
    vm_run "$1" 60 'rm /run/stop /run/work'
    must_match "$(tail -n 1 "$tmp/work")" '^swapload: OK, .* pswpout=[0-9]{3,} pswpin=[0-9]{3,} ' "the memory test"
    say "$(grep -c '^swapload: OK' "$tmp/work") rounds of work; $(tail -n 1 "$tmp/work")"
    lines=$(vm_run "$1" 60 dmesg)
    if grep -E "$_vm_dmesg_bad" <<<"$lines" | grep -vE 'nbd[0-9]+: .*(Dead connection, failed to find a fallback|Receive control failed|Send (data|control) failed)' >&2; then
        fail "guest $1: the lines above are in its dmesg"
    fi
}
