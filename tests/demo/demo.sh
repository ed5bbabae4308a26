#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The main job, to look at: nbdswapd on this machine with a file in a local directory, a small guest without a disk
# that attaches the export, and a job in it three times as large as its memory. Run by ./bootstrap demo.
. "${srcdir:?}/tests/functions.sh" || exit 1
. "$srcdir/tests/vm/vm.sh"
memory=128 # MiB of the guest
job=$((3 * memory))

step() {
    printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi
}

# On a terminal each line replaces the one before; elsewhere every fifth is shown.
live() {
    local line n=0 at='^swapload: +([0-9]+) s, .*out ([0-9]+), in ([0-9]+)'
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$tmp/job"
        [[ $line =~ $at ]] || continue
        line=$(printf '  %4s s   pages out %8s   pages in %8s' "${BASH_REMATCH[@]:1:3}")
        if [ -t 1 ]; then printf '\r%s ' "$line"; elif ((n++ % 5 == 0)); then printf '%s\n' "$line"; fi
    done
    if [ -t 1 ]; then printf '\n'; fi
}

free_port() {
    local port
    for port in $(seq 10809 10899); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
    fail "no free port from 10809 to 10899"
}

status() {
    "$builddir/server/nbdswapctl" status --socket "$tmp/control" "$@"
}

port=$(free_port)
cat >"$tmp/nbdswapd.conf" <<CONF
[server]
listen = 127.0.0.1:$port
control = $tmp/control
$(engine_lines)

[export demo]
file = $tmp/demo.swap
size = $((job + 64))M
CONF

step "1. A swap server on this machine: $((job + 64)) MiB in $tmp/demo.swap"
"$builddir/server/nbdswapd" --no-keeper --config "$tmp/nbdswapd.conf" 2>"$tmp/nbdswapd.log" &
daemon=$!
cleanup_fn end_process "$daemon"
ready() {
    kill -0 "$daemon" 2>/dev/null || fail "nbdswapd ended: $(cat "$tmp/nbdswapd.log")"
    status --json | jq -e '.exports[0].state == "ready" and .worker.state == "ready"'
}
wait_until 120 ready
status
worker=$(readlink "/proc/$(status --json | jq .worker.pid)/exe")
echo "Pages are moved by ${worker##*/}."

step "2. A diskless machine with $memory MiB of memory (Debian's kernel under QEMU)"
vm_start client mem=$memory user=1
vm_wait client
vm_run client 30 'head -n 1 /proc/meminfo; echo "disks: $(ls /sys/block | grep -c "^[vs]d" || true)"'

step "3. nbdswap attach nbd://server/demo"
vm_run client 120 "$builddir/client/nbdswap attach nbd://10.0.2.2:$port/demo"
vm_run client 30 'cat /proc/swaps'

step "4. A job of $job MiB: every word is written, changed and verified"
rc=0
set +e
vm_run client 900 "$builddir/tests/vm/swapload --size $job --processes 2 --rounds 1" | live
rc=${PIPESTATUS[0]}
set -e
tail -n 1 "$tmp/job"
status

step "5. nbdswap detach"
vm_run client 300 "$builddir/client/nbdswap detach --all && cat /proc/swaps" || rc=1
vm_dmesg_clean client
vm_stop client
end_process "$daemon"

out=$(sed -n 's/.*pswpout=\([0-9]*\).*/\1/p' "$tmp/job" | tail -n 1)
in=$(sed -n 's/.*pswpin=\([0-9]*\).*/\1/p' "$tmp/job" | tail -n 1)
pause=$(sed -n 's/.*longest pause \([0-9]*\) us.*/\1/p' "$tmp/job" | tail -n 1)
if [ "$rc" = 0 ] && [ "${out:-0}" -gt 0 ] && [ "${in:-0}" -gt 0 ]; then
    step "PASS: a machine of $memory MiB did a job of $job MiB. $out pages went out, $in came back, every word was right;
the longest pause for one page was $((pause / 1000)) ms (under an emulated processor)."
else
    step "FAIL: see above."
    cat "$tmp/nbdswapd.log"
    exit 1
fi
