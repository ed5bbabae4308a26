#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A running worker is confined, every thread of it, and lacks nothing for all that it does: under strace no call is refused, through connections
# of both kinds, plain, checked and sealed load, lost pages, a stale file opened anew, held requests, an export that comes and one that
# goes, a successor that takes over its sessions after a kill and at an upgrade, and an orderly end.
. "${srcdir:-.}/tests/functions.sh" || exit 1
export ENGINE=native
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/plugin/damage.sh"
requires_worker
requires_backing
requires strace -o /dev/null true
requires jq --version
requires nbdinfo --version
[ -z "$sanitizer" ] || skip "sanitizers make calls of their own"
could_swap && skip "a swap device is on, so no sealed export is served"
nbdload=$builddir/tests/plugin/nbdload
nbdcmd=$builddir/tests/plugin/nbdcmd

# Each worker with its own trace (-D: it is the daemon's child).  The variant with faults does its I/O by calls, the other through its ring.
faults=${1:-}
cat >"$tmp/traced" <<WRAPPER
#!/bin/sh
exec strace -D -f -o $tmp/trace.\$\$ $builddir/server/nbdswap-engine${faults:+-fault} "\$@"
WRAPPER
chmod 755 "$tmp/traced"
if [ -n "$faults" ]; then
    export NBDSWAP_FAULTS="rw.read:errno=ESTALE,nth=300;rw.write:errno=ETIMEDOUT,rate=0.1,seed=3"
fi

# configure [LINE...]
configure() {
    make_conf '[export plain]' 'check = none' '[export checked]' 'size = 8M' '[export sealed]' 'seal = aes-256-gcm' 'key = ephemeral' "$@"
    sed -i -e "s|^listen = .*|& 127.0.0.1:0|" -e "s|^native = .*|native = $tmp/traced|" "$conf"
}
configure '[export passing]'
sed -i 's/^size = 4M/size = 16M/' "$conf"
start_server
for name in plain checked sealed passing; do wait_until 60 export_is $name ready; done
port=$(field '.listen[]' | sed -n 's/^127\.0\.0\.1:\([0-9]*\)$/\1/p')
tcp() { printf 'nbd://127.0.0.1:%s/%s' "$port" "$1"; }

# ---- confined, and how the kernel sees it ----
confined() {
    local t threads=0 status
    for t in /proc/"$1"/task/*; do
        status=$(cat "$t/status")
        threads=$((threads + 1))
        must_match "$status" '^Seccomp:	2$' "thread ${t##*/}"
        must_match "$status" '^NoNewPrivs:	1$' "thread ${t##*/}"
        for set in Inh Prm Eff Amb; do
            # CAP_IPC_LOCK, and that only where the limit of locked memory cannot be raised.
            must_match "$status" "^Cap$set:	000000000000(0000|$keep)\$" "thread ${t##*/}"
        done
    done
    echo "worker $1: $threads threads are confined"
    [ "$threads" -ge 4 ] || fail "only $threads threads"
}
keep=0000
grep -q '^Max locked memory  *unlimited' "/proc/$(worker_pid)/limits" || keep=4000
confined "$(worker_pid)"

# ---- all that it does ----
load() { timeout 120 "$nbdload" "$@" >"$tmp/load" 2>&1 || fail "nbdload $*: $(cat "$tmp/load")"; }
timeout 60 nbdinfo --list "$(uri "")" >"$tmp/out" || fail "list"
timeout 60 nbdinfo "$(tcp checked)" >"$tmp/out" || fail "info over TCP"
if timeout 60 nbdinfo "$(uri nothing)" >"$tmp/out" 2>&1; then fail "an export that is not there"; fi
load "$(uri plain)" 2 8 600
load "$(tcp checked)" 4 4 1200
load "$(uri sealed)" 2 8 600
if [ -n "$faults" ]; then
    wait_until 60 grep -q 'its handle was stale; the file was opened anew and is the same' "$log"
    wait_until 60 grep -qE 'Connection timed out: held and tried again' "$log"
fi

timeout 60 "$nbdcmd" "$(uri passing me)" write 0 128k 7
flip "$tmp/passing.swap" 8192 3
timeout 60 "$nbdcmd" "$(uri passing me)" expect EIO read 8192 4k 7
wait_until 60 grep -qE 'error: .*passing.*lost' "$log"

# An export goes, another comes.
gone() { [ "$(field '[.exports[].name]|sort|join(" ")')" = "checked coming plain sealed" ]; }
configure '[export coming]'
sed -i 's/^size = 4M/size = 16M/' "$conf"
ctl reload >"$tmp/out" || fail "reload: $(cat "$tmp/out")"
wait_until 60 gone
wait_until 60 export_is coming ready
load "$(uri coming)" 1 4 200

# A successor: sessions over TCP do not notice.
(timeout 300 "$nbdload" "$(tcp checked)" 2 8 12000 >"$tmp/riding" 2>&1) &
riding=$!
sessions_are() { [ "$(field '.exports[]|select(.name=="checked")|.sessions')" = "$1" ]; }
renewed() { worker_ready && [ "$(worker_pid)" != "$before" ]; }
wait_until 60 sessions_are 2
before=$(worker_pid)
kill -KILL "$before"
wait_until 60 renewed
confined "$(worker_pid)"
before=$(worker_pid)
ctl reload-worker >"$tmp/out" 2>&1 || fail "upgrade: $(cat "$tmp/out")"
wait_until 60 renewed
wait "$riding" || fail "a session did not outlive its worker: $(cat "$tmp/riding")"
load "$(uri plain)" 1 8 200

kill -TERM "$server_pid"
wait_server || fail "it did not end well: $?"

# ---- no call was refused ----
traces=0
for trace in "$tmp"/trace.*; do
    # From the filter on.
    sed -n '/ seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC.* = 0$/,$p' "$trace" >"$tmp/after"
    [ -s "$tmp/after" ] || continue
    traces=$((traces + 1))
    if grep -E '= -1 (EPERM|EACCES)|SIGSYS' "$tmp/after" >&2; then fail "a worker was refused the calls above"; fi
    echo "${trace##*/}: $(wc -l <"$tmp/after") calls of $(sed -nE 's/^[0-9]+ +(<\.\.\. )?([a-z][a-z0-9_]+)[( ].*/\2/p' "$tmp/after" | sort -u | wc -l) kinds"
done
[ "$traces" -ge 3 ] || fail "$traces traces, not one for each of three workers"
