#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Contract point 3 for the native engine: once warm, over 100,000 reads, writes, trims, zeros and flushes on several connections there is no
# call of malloc and the like in the whole process, no system call that gives memory and no page fault in any thread; for plain,
# checked and sealed exports, for one that keeps records for an end of the machine, and while one request in twenty is refused by the backend, held and tried again.
. "${srcdir:-.}/tests/functions.sh" || exit 1
export ENGINE=native
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires strace -o /dev/null true
[ -z "$sanitizer" ] || skip "the sanitizer allocates"
could_swap && skip "a swap device is on, so no sealed export is served"
nbdload=$builddir/tests/plugin/nbdload
preload=$builddir/.libs/countalloc.so
[ -e "$preload" ] || fail "$preload was not built"

head -c 4096 /dev/zero >"$tmp/count"
mkfifo "$tmp/go"
count() { od -An -tu8 -N8 "$tmp/count" | tr -d ' '; }
# count_of THREAD...
count_of() {
    local t n sum=0
    for t in "$@"; do
        n=$(od -An -tu8 -j$((8 + t % 511 * 8)) -N8 "$tmp/count")
        sum=$((sum + n))
    done
    echo "$sum"
}
# of_threads FILE: this file of /proc of all threads; the kernel's, which sync files for the ring (iou-wrk), come and go, perhaps just now.
of_threads() { cat /proc/"$pid"/task/*/"$1" 2>/dev/null || true; }
# Minor and major faults of all threads: fields 10 and 12 of stat, the name in field 2 taken out.
faults() { of_threads stat | sed 's/^.*) //' | awk '{ n += $8 + $10 } END { print n }'; }
# The worker's own ones.
threads() { of_threads comm | grep -vc '^iou-wrk'; }
paused() {
    kill -0 "$load" 2>/dev/null || fail "the load has ended: $(cat "$tmp/said")"
    [ "$(grep -c paused "$tmp/said")" -ge "$1" ]
}

# serve PROGRAM: the counting library goes into the worker alone.
serve() {
    printf '#!/bin/sh\nCOUNTALLOC=%s LD_PRELOAD=%s exec %s "$@"\n' "$tmp/count" "$preload" "$builddir/server/$1" >"$tmp/counted"
    chmod 755 "$tmp/counted"
    make_conf '[export plain]' 'check = none' '[export checked]' '[export sealed]' 'seal = aes-256-gcm' 'key = ephemeral' \
        '[export kept]' 'survive = host'
    sed -i -e 's/^size = 4M/size = 64M/' -e "s|^native = .*|native = $tmp/counted|" "$conf"
    start_server
    for name in plain checked sealed kept; do wait_until 60 export_is $name ready; done
    pid=$(worker_pid)
    [ "$(count)" -gt 100 ] || fail "the counter does not count: $(count)"
}

stop() {
    kill -TERM "$server_pid"
    wait_server || fail "it did not end well: $?"
}

begin_load() { # EXPORT PHASE...
    : >"$tmp/said"
    timeout 300 "$nbdload" "$(uri "$1")" 4 16 6000x32 10000 "${@:2}" <"$tmp/go" >"$tmp/said" 2>&1 &
    load=$!
    exec 5>"$tmp/go"
    wait_until 200 paused 1
}

end_load() {
    echo >&5
    wait "$load" || fail "the load: $(cat "$tmp/said")"
}

# The threads that have a part in requests, and the others, which tell the daemon what happens.  They were started in this order: main,
# mover, closer, attendant, receiver, and the variant's submitters; the mover waits in its ring (call 426), the receiver for a message (47).
find_threads() {
    local all
    mapfile -t all < <(ls "/proc/$pid/task" | while read -r t; do grep -qs -v '^iou-wrk' "/proc/$pid/task/$t/comm" && echo "$t"; done | sort -n)
    [ "$(cut -d' ' -f1 "/proc/$pid/task/${all[1]}/syscall")" = 426 ] || fail "the second thread is not the mover"
    [ "$(cut -d' ' -f1 "/proc/$pid/task/${all[4]}/syscall")" = 47 ] || fail "the fifth thread is not the receiver"
    moving=("${all[1]}" "${all[@]:5}")
    telling=("${all[0]}" "${all[2]}" "${all[3]}" "${all[4]}")
}

# counted EXPORT N WHAT: N requests cost no memory.  With a trigger, messages may, on their own threads.
counted() {
    local before faults_before threads_before after faults_after said=0
    begin_load "$1" pause "$2" pause
    find_threads
    before=$(count)
    moving_before=$(count_of "${moving[@]}")
    telling_before=$(count_of "${telling[@]}")
    faults_before=$(faults)
    threads_before=$(threads)
    if [ -n "${trigger:-}" ]; then touch "$trigger"; fi # the first error of all is met in here
    echo >&5
    wait_until 300 paused 2
    if [ -n "${trigger:-}" ]; then said=$(($(count_of "${telling[@]}") - telling_before)); fi
    after=$(($(count) - said))
    faults_after=$(faults)
    [ "$(count_of "${moving[@]}")" = "$moving_before" ] || fail "$3: the threads that move pages called for memory"
    [ "$(threads)" = "$threads_before" ] || fail "threads came or went: $threads_before, $(threads)"
    end_load
    echo "$3: calls for memory over $2 requests: $((after - before)); page faults: $((faults_after - faults_before))${trigger:+ (to tell of it: $said)}"
    [ "$after" = "$before" ] || fail "$3: $((after - before)) calls for memory while pages moved"
    [ "$faults_after" = "$faults_before" ] || fail "$3: $((faults_after - faults_before)) page faults while pages moved"
}

serve nbdswap-engine
for name in plain checked sealed kept; do counted $name 100000 $name; done

# Under strace, for what does not go through a function that can be replaced.
begin_load checked pause 20000 pause
strace -f -p "$pid" -o "$tmp/trace" -e trace=mmap,brk,mremap,munmap,madvise,clone,clone3 2>"$tmp/strace" &
tracer=$!
cleanup_fn end_process "$tracer"
wait_until 30 grep -q "Process $pid attached" "$tmp/strace"
echo >&5
wait_until 300 paused 2
end_process "$tracer"
end_load
calls=$(grep -E '(mmap|brk|mremap|munmap|madvise|clone3?)\(' "$tmp/trace" || true)
[ -z "$calls" ] || fail "system calls for memory while pages moved:"$'\n'"$calls"
stop

trigger=$tmp/on
refused="errno=ETIMEDOUT,rate=0.05,seed=3,trigger=$trigger"
export NBDSWAP_FAULTS="rw.read:$refused;rw.write:$refused" # (a flush that failed is not tried again: its error is reported once)
serve nbdswap-engine-fault
counted checked 20000 "checked, one in 20 refused"
rm "$trigger"
[ "$(field '.exports[]|select(.name=="checked")|.counters.errors_passing')" -gt 100 ] || fail "nothing was refused"
must_match "$(cat "$log")" 'checked: .*Connection timed out: held and tried again'
stop
