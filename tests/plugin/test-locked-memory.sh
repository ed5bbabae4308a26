# SPDX-License-Identifier: BSD-3-Clause
# What a worker locks, by Locked of smaps_rollup: at most 32 MiB when idle, 4 MiB more per connection under load, 4 MiB more per GiB
# exported.  And all of what it uses is locked.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
no_sanitizers "shadow memory"
[ "$(id -u)" = 0 ] || skip "needs root to lock memory"
connections=4

rollup() {
    sed -n "s/^$1: *\([0-9]*\) kB/\1/p" "/proc/$pid/smaps_rollup"
}
paused() {
    grep -q paused "$tmp/said"
}
NBDKIT_OPTIONS=(-t 8)
start_nbdkit file="$disk/k.swap" size=64M
idle=$(rollup Locked)
((idle > 0 && idle <= 32768)) || fail "idle: $idle KiB locked"
(($(rollup Locked) + 256 >= $(rollup Pss))) || fail "of $(rollup Pss) KiB only $(rollup Locked) are locked"

mkfifo "$tmp/go"
timeout 300 "$nbdload" "$uri" $connections 16 4000x32 4000 pause <"$tmp/go" >"$tmp/said" 2>&1 &
load=$!
exec 5>"$tmp/go"
wait_until 120 paused
busy=$(rollup Locked)
(($(rollup Locked) + 256 >= $(rollup Pss))) || fail "under load: of $(rollup Pss) KiB only $(rollup Locked) are locked"
echo >&5
wait "$load" || fail "load"
each=$(((busy - idle) / connections))
((each <= 4096)) || fail "each of $connections connections locks $each KiB more"
stop_nbdkit

# The table.  1 GiB more is written once here, and sparse space would be refused, so a smaller step is measured.
start_nbdkit file="$disk/g.swap" size=320M
larger=$(rollup Locked)
stop_nbdkit
per_gib=$(((larger - idle) * 4))
((per_gib >= 0 && per_gib <= 4096 + 1024)) || fail "a GiB costs $per_gib KiB"
echo "locked: idle $idle KiB, per connection $each KiB, per GiB $per_gib KiB"
