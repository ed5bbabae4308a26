#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# attach, swap, detach in a real kernel against nbdkit on the host: what is set on the device, what is refused, that every
# failure and every signal is undone, and that pages come back right.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/client/nbd.sh"
requires nbdkit --version
[ -f "$srcdir/tests/vm/vm.sh" ] || skip "there is no guest harness"
. "$srcdir/tests/vm/vm.sh"

start_tcp_nbdkit plain memory size=512M
start_tcp_nbdkit second memory size=64M
start_tcp_nbdkit slow --filter=delay memory size=256M rdelay=4ms
truncate -s 64M "$tmp/ext4"
PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q "$tmp/ext4"
cp --sparse=never "$tmp/ext4" "$tmp/ext4.before"
start_tcp_nbdkit ext4 file "$tmp/ext4"
truncate -s 64M "$tmp/swap"
mkswap -L old -U 11111111-2222-3333-4444-555555555555 "$tmp/swap" >/dev/null 2>&1
start_tcp_nbdkit swap file "$tmp/swap"
start_tcp_nbdkit nowrite --filter=error memory size=64M error-pwrite=EIO error-pwrite-rate=100%
# A server of our kind that has lost its pages: they cannot be read until they are discarded or written. Without the marker in
# its name it takes any name, as foreign servers do.
lost() {
    truncate -s 4M "$tmp/$1.disk"
    start_tcp_nbdkit "$1" eval open="case \"\$3\" in $2) echo h ;; *) exit 1 ;; esac" get_size="echo 4194304" \
        pread="[ -e $tmp/$1.fresh ] || { echo EIO lost >&2; exit 1; }
            dd if=$tmp/$1.disk iflag=skip_bytes,count_bytes skip=\$4 count=\$3 status=none" \
        can_trim="exit 0" trim="[ \$3 -lt 1000000 ] || touch $tmp/$1.fresh" can_write="exit 0" \
        pwrite="dd of=$tmp/$1.disk oflag=seek_bytes seek=\$4 conv=notrunc status=none"
}
lost ours "'ws1?client='?*"
lost foreign "*"

vm_start client mem=256 user=1
vm_wait client
guest() {
    vm_run client "$@" 2>&1
}
uri() {
    echo "nbd://10.0.2.2:${!1}/ws1"
}
# guest_expect RC REGEX COMMAND
guest_expect() {
    local rc=0 out
    out=$(guest 90 "$3") || rc=$?
    [ "$rc" = "$1" ] || fail "exit code $rc, not $1: $3"$'\n'"$out"
    must_match "$out" "$2" "$3"
}
# left_over: prints what there is of device, swap, state, connection and changed settings
left_over() {
    guest 60 "grep nbd /proc/swaps; ls /run/nbdswap; ls -d /sys/block/nbd*/pid 2>/dev/null; pgrep -x nbd-client
        grep -L '^30000$' /sys/block/nbd*/queue/io_timeout; ss -Htn state established dst 10.0.2.2" || true
}
nothing_left_now() { [ -z "$(left_over)" ]; }
nothing_left() {
    local out
    out=$(left_over)
    [ -z "$out" ] || fail "after $1 this is left:"$'\n'"$out"
}
guest_expect 0 '' "modprobe nbd; sysctl -qw vm.min_free_kbytes=16384; ln -sf $nbdswap /usr/local/sbin/nbdswap"

# --- refusals and failures, each undone
guest_expect 4 'ext4 \(filesystem\).*nothing was written.*--force' "nbdswap attach $(uri ext4)"
nothing_left "a refused signature"
cmp "$tmp/ext4" "$tmp/ext4.before" || fail "a refused export was changed"
guest_expect 1 'cannot write the swap header: Input/output error' "nbdswap attach $(uri nowrite)"
nothing_left "a failed mkswap"
guest_expect 1 'nbd-client could not connect' "nbdswap attach --via nbd-client --nbd-client /bin/false $(uri plain)"
nothing_left "a failed nbd-client"
# Somebody else was faster: the device is theirs, and the undo must not touch it.
guest_expect 1 'nbd-client could not connect' "printf '#!/bin/sh\nnbd-client -N x 10.0.2.2 $second /dev/nbd0\nexit 1\n' >/run/fake
    chmod 755 /run/fake; nbdswap attach --via nbd-client --nbd-client /run/fake $(uri plain)"
guest_expect 0 '^131072$' "cat /sys/block/nbd0/size; nbd-client -d /dev/nbd0 >/dev/null"
wait_until 30 nothing_left_now
guest_expect 4 'cannot be read, so what lies there is not known' "nbdswap attach $(uri foreign)"
nothing_left "a refused unreadable export"
[ ! -e "$tmp/foreign.fresh" ] || fail "a refused export was discarded"
guest_expect 0 'lost the old content' "nbdswap attach $(uri ours)"
guest_expect 0 '"discard": "pages"' "nbdswap status --json"
guest_expect 0 'nbd0 is detached' "nbdswap detach nbd0"
nothing_left "a detach"

# As many swap areas as the kernel takes: swapon fails at the last step, and all of them are undone.
guest_expect 0 '' "modprobe brd rd_nr=40 rd_size=256; for d in /dev/ram*; do mkswap \$d >/dev/null 2>&1; swapon \$d 2>/dev/null || break; done"
guest_expect 1 'turning swap on: swapon /dev/nbd0 failed: Operation not permitted.*as many swap areas' "nbdswap attach $(uri plain)"
nothing_left "a failed swapon"
guest_expect 0 '' "swapoff -a"

# A signal at any time: undone, or nothing begun, or too late and attached.
for ms in 020 060 100 140 180 220 260 300 350 400 450 500; do
    guest_expect 0 '' "timeout -s TERM 0.$ms nbdswap attach $(uri plain) >/run/out 2>&1
        if grep -q '^/dev/nbd' /proc/swaps; then
            grep -q ' of swap, ' /run/out && nbdswap detach --all
        else
            [ ! -s /run/out ] || grep interrupted /run/out || { cat /run/out; false; }
        fi"
    nothing_left "a signal after $ms ms"
done

# --- what attach sets
guest_expect 0 'label old, UUID 11111111-2222-3333-4444-555555555555' "nbdswap attach --priority 7 $(uri swap)"
guest_expect 0 '^/dev/nbd0 +partition[[:space:]]+65532[[:space:]]+0[[:space:]]+7$' "cat /proc/swaps"
guest_expect 0 '^2000$' "cat /sys/block/nbd0/queue/io_timeout"
guest_expect 0 '^700 /run/nbdswap 600 /run/nbdswap/nbd0.json $' "stat -c '%a %n' /run/nbdswap /run/nbdswap/* | tr '\n' ' '"
guest_expect 6 'attached already, as nbd0' "nbdswap attach $(uri swap)"
guest_expect 6 'nbd0 is in use already' "nbdswap attach --device nbd0 $(uri second)"
guest_expect 6 'in use by this machine, as nbd0' "nbdswap check $(uri swap)"
guest_expect 0 'every page came back' "nbdswap check --pages 50 $(uri second)"
guest_expect 0 '^nbd0 +10.0.2.2:[0-9]+ +ws1 .* up \(not watched\)$' "nbdswap status"
guest_expect 0 'nbd0 is detached' "nbdswap detach $(uri swap)"
guest_expect 0 '' "nbdswap attach --force $(uri ext4) && blkid -p /dev/nbd0 | grep -q TYPE=.swap && nbdswap detach -q --all"
nothing_left "a forced attach"

# --- the swaptab
guest_expect 0 'nbd3.*label two' "printf '%s pri=3\n%s device=nbd3,label=two\n' $(uri plain) $(uri second) >/run/tab
    nbdswap attach --all --swaptab /run/tab"
guest_expect 0 'nbd3: .* is attached already' "nbdswap attach --all --swaptab /run/tab"
guest_expect 7 'Connection refused' "echo nbd://10.0.2.2:1/x >>/run/tab; nbdswap attach --all --swaptab /run/tab"
guest_expect 0 'nbd3 is detached' "nbdswap detach --all"
nothing_left "detach --all"

# --- pages go out and come back; a detach that does not fit, and one that is interrupted
guest_expect 0 "" "dmesg -C" # the errors so far were meant
guest_expect 0 "" "nbdswap attach $(uri slow)"
# In a group of its own and stopped, its memory can be sent out, so that swap holds much while memory is there to take it
# back. Several processes, since swapoff looks for signals only between them.
guest_expect 0 '' "mkdir /sys/fs/cgroup/load; echo +memory >/sys/fs/cgroup/cgroup.subtree_control"
vm_spawn load client "$tmp/load" 300 "sh -c 'echo \$\$ >/sys/fs/cgroup/load/cgroup.procs
    exec $builddir/tests/vm/swapload --size 120 --processes 8 --rounds 60'"
guest_expect 0 '' "for i in \$(seq 600); do
        [ \$(cat /sys/fs/cgroup/load/memory.current) -lt 100000000 ] || break
        sleep 0.1
    done
    pkill -STOP swapload
    for i in 1 2 3; do echo 100M >/sys/fs/cgroup/load/memory.reclaim; done 2>/dev/null; true"
used() { guest 60 "awk '/nbd0/ { print \$4 * 1024 }' /proc/swaps"; }
before=$(used)
[ "$before" -gt $((60 << 20)) ] || fail "only $before bytes are in swap"
guest_expect 4 'of pages would have to come back.*--force' "dd if=/dev/zero of=/dev/shm/hog bs=1M count=100 status=none
    nbdswap detach nbd0; rc=\$?; rm /dev/shm/hog; exit \$rc"
guest_expect 1 'interrupted; swap on it is still on and nothing is lost' "nbdswap detach nbd0 & pid=\$!
    while [ \$(awk '/nbd0/ { print \$4 }' /proc/swaps) -gt $((before / 1024 * 9 / 10)) ]; do sleep 0.1; done
    kill -INT \$pid; wait \$pid"
after=$(used)
[ "$after" -gt 0 ] && [ "$after" -lt "$before" ] || fail "the interrupted detach did not come half way: $before, then $after"
guest_expect 0 'nbd0 \[[#.]{24}\] +[0-9]+ %  .* of .*/s' "COLUMNS=120 script -qec 'timeout -s INT 2 nbdswap detach nbd0' /dev/null || true"
guest_expect 0 'nbd0 is detached' "nbdswap detach nbd0"
nothing_left "a detach of full swap"
guest_expect 0 '' "pkill -CONT swapload"
wait "$load" || fail "the load after the detach: $(cat "$tmp/load")"
must_match "$(cat "$tmp/load")" 'swapload: OK'
vm_dmesg_clean client

# --- a dead link: held for as long as the dead-link timeout, and no longer
pid_of() { ss -Hltnp | sed -nE "s/.*:${!1} .*pid=([0-9]+),.*/\1/p"; }
guest_expect 0 '' "nbdswap attach --dead-link-timeout 4 $(uri second)"
kill -KILL "$(pid_of second)"
dead() { [[ $(guest 20 "nbdswap status") == *link-dead* ]]; }
wait_until 30 dead
guest_expect 1 'link-dead' "nbdswap status"
guest_expect 0 '^[45]' "s=\$(cut -d. -f1 /proc/uptime); dd if=/dev/nbd0 of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null
    echo \$((\$(cut -d. -f1 /proc/uptime) - s))"
guest_expect 0 'nbd0 is detached' "nbdswap detach nbd0"
nothing_left "a dead link"
