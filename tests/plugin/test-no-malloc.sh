# SPDX-License-Identifier: BSD-3-Clause
# Once warm, nbdkit with the plugin takes no memory from anywhere: over 100,000 reads, writes, trims and zeros on several connections
# sealed or not, no call of malloc and the like in the whole process, no system call that gives memory, and no page fault in any thread.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
no_sanitizers "the sanitizer allocates"
requires strace -o /dev/null true
requests=100000
warm=(6000x32 10000)

head -c 4096 /dev/zero >"$tmp/count"
preload=$builddir/.libs/countalloc.so
[ -e "$preload" ] || fail "$preload was not built"
export COUNTALLOC=$tmp/count
NBDKIT_OPTIONS=(-t 8)
mkfifo "$tmp/go"

count() {
    od -An -tu8 -N8 "$tmp/count" | tr -d ' '
}
# Minor and major faults of all threads: fields 10 and 12 of stat, the name in field 2 taken out.
faults() {
    cat /proc/"$pid"/task/*/stat | sed 's/^.*) //' | awk '{ n += $8 + $10 } END { print n }'
}
threads() {
    ls /proc/"$pid"/task | wc -l
}
paused() {
    [ "$(grep -c paused "$tmp/said")" -ge "$1" ]
}

start_load() {
    : >"$tmp/said"
    timeout 300 "$nbdload" "$uri" "$@" <"$tmp/go" >"$tmp/said" 2>&1 &
    load=$!
    exec 5>"$tmp/go"
}
next() {
    echo >&5
}

for seal in none aes-256-gcm; do
    rm -f "$disk/m.swap"
    start_nbdkit file="$disk/m.swap" size=64M seal=$seal
    start_load 4 16 "${warm[@]}" pause "$requests" pause
    wait_until 120 paused 1
    [ "$(count)" -gt 100 ] || fail "the counter does not count: $(count)"
    before=$(count)
    faults_before=$(faults)
    threads_before=$(threads)
    next
    wait_until 300 paused 2
    after=$(count)
    faults_after=$(faults)
    [ "$(threads)" = "$threads_before" ] || fail "threads came or went: $threads_before, $(threads)"
    next
    wait "$load" || fail "the load: $(cat "$tmp/said")"
    echo "seal=$seal: calls for memory over $requests requests: $((after - before)); page faults: $((faults_after - faults_before))"
    [ "$after" = "$before" ] || fail "$((after - before)) calls for memory while pages moved"
    [ "$faults_after" = "$faults_before" ] || fail "$((faults_after - faults_before)) page faults while pages moved"

    # The same once more under strace, for what does not go through a function that can be replaced.
    start_load 4 16 "${warm[@]}" pause 20000 pause
    wait_until 120 paused 1
    strace -f -p "$pid" -o "$tmp/trace" -e trace=mmap,brk,mremap,munmap,madvise,clone,clone3 2>"$tmp/strace" &
    tracer=$!
    cleanup_fn end_process "$tracer"
    wait_until 30 grep -q "Process $pid attached with $threads_before threads" "$tmp/strace"
    next
    wait_until 300 paused 2
    end_process "$tracer"
    next
    wait "$load" || fail "the load: $(cat "$tmp/said")"
    calls=$(grep -E '(mmap|brk|mremap|munmap|madvise|clone3?)\(' "$tmp/trace" || true)
    [ -z "$calls" ] || fail "system calls for memory while pages moved:"$'\n'"$calls"
    stop_nbdkit
done
