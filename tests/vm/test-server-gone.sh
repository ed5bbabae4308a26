#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Swap of ours beside zram, who holds its pages, and what detach does when the server is gone with them.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/engine/resume.sh"
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/product.sh"
requires_resume

resume_conf '[export swap]' 'size = 256M'
start_server
wait_until 120 export_is swap ready
vm_start client mem=384 user=1
vm_wait client
guest() { vm_run client "$@" 2>&1; }
# guest_expect RC REGEX COMMAND: its output is in $out.
guest_expect() {
    local rc=0
    out=$(guest 120 "$3") || rc=$?
    [ "$rc" = "$1" ] || fail "exit code $rc, not $1: $3"$'\n'"$out"
    must_match "$out" "$2" "$3"
}
guest_expect 0 '' "modprobe nbd max_part=0; sysctl -qw vm.min_free_kbytes=16384; ln -sf $nbdswap /usr/local/sbin/nbdswap
    modprobe zram && echo 48M >/sys/block/zram0/disksize && mkswap /dev/zram0 && swapon -p 100 /dev/zram0
    mkdir /sys/fs/cgroup/load; echo +memory >/sys/fs/cgroup/cgroup.subtree_control"
uri=nbd://10.0.2.2:$(port)/swap
attach() { guest_expect 0 'of swap, label' "nbdswap attach --loopback-i-know --priority 5 $uri"; }
# push_out: a load of 160 MiB in 4 processes, that is stopped and sent out.
push_out() {
    vm_spawn load client "$tmp/load" 600 "sh -c 'echo \$\$ >/sys/fs/cgroup/load/cgroup.procs
        exec $swapload --size 160 --processes 4 --rounds 60'"
    guest_expect 0 '' "for i in \$(seq 900); do
            [ \$(cat /sys/fs/cgroup/load/memory.current) -lt 150000000 ] || break
            sleep 0.1
        done
        pkill -STOP swapload
        for i in 1 2 3 4; do echo 150M >/sys/fs/cgroup/load/memory.reclaim; done 2>/dev/null; true"
}
used() { guest 60 "awk '/$1/ { print \$4 * 1024 }' /proc/swaps"; }
status() { guest 60 "nbdswap status --json --processes=${1:-all}" | jq '.[0]'; }

attach
push_out
ours=$(used nbd0) zram=$(used zram0)
say "$ours bytes on nbd0, $zram on zram"
((zram > 40 << 20 && ours > 60 << 20)) || fail "too little is swapped out"

# --- who holds what, and on which of the two devices
json=$(status)
say "status: $(jq -c '[.processes[0:5], .processes_count, .processes_bytes]' <<<"$json")"
[ "$(jq '[.processes[] | select(.at_most)] | length' <<<"$json")" = 0 ] || fail "not exact"
[ "$(jq '[.processes[0:4][] | select(.name == "swapload")] | length' <<<"$json")" = 4 ] || fail "the load is not the largest"
[ "$(jq '.processes[0:3] | [.[].bytes] == ([.[].bytes] | sort | reverse)' <<<"$json")" = true ] || fail "not by size"
# A page may be in memory as well, or counted for two processes; but those of zram are not among them.
sum=$(jq .processes_bytes <<<"$json")
((sum > ours * 9 / 10 && sum < ours * 21 / 20)) || fail "$sum bytes of processes, $ours are used"
[ "$(jq '.processes | length' <<<"$(status 2)")" = 2 ] || fail "--processes=2"
guest_expect 0 'nbd0 holds pages of [0-9]+ processes:' "nbdswap status"
must_match "$out" 'swapload +[0-9.]+ [MK]iB'
# One swap of two as a plain account would have it: both together.
guest_expect 0 '^[0-9]+$' "awk '/VmSwap/ { n += \$2 } END { print n * 1024 }' /proc/[0-9]*/status"
((out > ours + zram / 2)) || fail "the accounts of the processes show $out, so that this proves nothing"

# --- ours goes, zram stays
guest_expect 0 'nbd0 is detached' "nbdswap detach nbd0"
guest_expect 0 '^/dev/zram0[[:space:]].*[[:space:]]100$' "tail -n +2 /proc/swaps"
guest_expect 0 '' "pkill -CONT swapload; sleep 2; pkill -STOP swapload; pgrep -c swapload"
# shellcheck disable=SC2154 # set by vm_spawn
kill -0 "$load" || fail "the load: $(cat "$tmp/load")"

# --- the server goes, with pages
attach
guest_expect 0 '' "for i in 1 2 3 4; do echo 150M >/sys/fs/cgroup/load/memory.reclaim; done 2>/dev/null; true"
ours=$(used nbd0)
((ours > 60 << 20)) || fail "too little is swapped out again: $ours"
ctl stop --force || fail "stop"
wait_server || fail "exit status $?"
dead() { [[ $(guest 20 "nbdswap status") == *link-dead* ]]; }
wait_until 60 dead
start=$SECONDS
guest_expect 9 'its server is gone, and with it [0-9.]+ MiB of pages that processes need' "timeout 60 nbdswap detach nbd0"
say "told after $((SECONDS - start)) s"
must_match "$out" 'swapload +[0-9.]+ [MK]iB' "who holds them"
must_match "$out" 'nothing was done'
must_match "$out" '--lost-pages-are-lost'
[ "$(used nbd0)" = "$ours" ] || fail "something was done: $ours, now $(used nbd0)"
guest_expect 1 'swapload +[0-9.]+ [MK]iB' "nbdswap status"
guest_expect 9 'server is gone' "timeout 60 nbdswap detach --force --all"
# (pgrep reads command lines, and would wait for a page of one.)
count() { guest 60 "grep -lx swapload /proc/[0-9]*/comm | wc -l"; }
n=$(count)
((n >= 4)) || fail "$n processes of the load are left"
start=$SECONDS
guest_expect 0 'nbd0 is detached' "timeout 100 nbdswap detach --lost-pages-are-lost nbd0"
say "detached after $((SECONDS - start)) s: $out"
must_match "$out" 'of pages may be lost'
guest_expect 0 '^/dev/zram0[[:space:]]' "tail -n +2 /proc/swaps"
guest_expect 0 '^gone$' "[ -e /sys/block/nbd0/pid ] || [ -e /run/nbdswap/nbd0.json ] || echo gone"
[ "$(count)" = "$n" ] || fail "a process was ended before it needed a page that is lost"
# Those that go on end when they touch such a page, and none finds a wrong word.
guest_expect 0 '' "pkill -CONT swapload"
rc=0
wait "$load" || rc=$?
tail -n 5 "$tmp/load"
# (3: it says so itself; 135: the signal could not even be handled, for the stack was lost too.)
case $rc in
3 | 135) ;;
*) fail "the load ended with $rc, not by SIGBUS: $(cat "$tmp/load")" ;;
esac
# The device can be used again.
start_server
wait_until 120 export_is swap ready
uri=nbd://10.0.2.2:$(port)/swap
attach
guest_expect 0 'nbd0 is detached' "nbdswap detach nbd0"
guest_expect 0 '^/dev/zram0[[:space:]]' "tail -n +2 /proc/swaps"
guest 60 'dmesg | grep -cE "Read-error|I/O error"' || true
vm_stop client
