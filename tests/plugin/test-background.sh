# SPDX-License-Identifier: BSD-3-Clause
# Without -f nbdkit forks after the file was activated: the process in the background must hold the lock of the file and its own
# memory locked, neither of which is to be taken for granted over fork.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
[ "$(id -u)" = 0 ] || skip "needs root to lock memory"
file=$disk/b.swap

env ${preload:+LD_PRELOAD="$preload"} "$nbdkit" -U "$sock" -P "$tmp/pid" "$plugin" file="$file" size=16M \
    "allow=$allow" >"$log" 2>&1 || fail "nbdkit: $(cat "$log")"
wait_until 60 test -s "$tmp/pid"
pid=$(cat "$tmp/pid")
cleanup_fn end_process "$pid"
wait_until 60 "$nbdcmd" "$uri" write 0 64k 1 read 0 64k 1

vmlck=$(sed -n 's/^VmLck:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status")
# At one look: a share of a library's pages grows when another process that has them ends.
cat "/proc/$pid/smaps_rollup" >"$tmp/rollup"
locked=$(sed -n 's/^Locked: *\([0-9]*\) kB/\1/p' "$tmp/rollup")
pss=$(sed -n 's/^Pss: *\([0-9]*\) kB/\1/p' "$tmp/rollup")
((vmlck > 0 && locked > 0)) || fail "in the background nothing is locked: VmLck $vmlck, Locked $locked KiB"
[ -n "${sanitized:-}" ] || ((locked + 256 >= pss)) || fail "of $pss KiB only $locked are locked"

sock=$tmp/sock2
refused "b.swap: is already activated by process $pid on" file="$file" "allow=$allow"
sock=$tmp/sock
"$nbdcmd" "$uri" read 0 64k 1
kill -TERM "$pid"
wait_until 60 not_running "$pid"

# It ended cleanly, and the lock is gone with it.
start_nbdkit file="$file"
"$nbdcmd" "$uri" read 0 64k 1
stop_nbdkit

# A key that was loaded before the fork is there after it, and locked.
(umask 077 && head -c 32 /dev/urandom >"$tmp/key")
sealed=(file="$disk/s.swap" size=1M seal=aes-256-gcm key-file="$tmp/key")
rm -f "$sock" "$tmp/pid"
env ${preload:+LD_PRELOAD="$preload"} "$nbdkit" -U "$sock" -P "$tmp/pid" "$plugin" "${sealed[@]}" "allow=$allow" \
    >"$log" 2>&1 || fail "nbdkit: $(cat "$log")"
wait_until 60 test -s "$tmp/pid"
pid=$(cat "$tmp/pid")
cleanup_fn end_process "$pid"
wait_until 60 "$nbdcmd" "$uri" text 0 64k 1 readtext 0 64k 1
keys=$(awk '/^[0-9a-f]+-[0-9a-f]+ / { mine = index($0, "memfd:nbdswap-key") } mine && /^VmFlags:/ { print }' "/proc/$pid/smaps")
[ "$(wc -l <<<"$keys")" -ge 2 ] || fail "key and activation's key are not there: $keys"
[ -n "${sanitized:-}" ] || ! grep -qv ' lo' <<<"$keys" || fail "a key is not locked in the background: $keys"
kill -TERM "$pid"
wait_until 60 not_running "$pid"
start_nbdkit "${sealed[@]}"
"$nbdcmd" "$uri" readtext 0 64k 1
