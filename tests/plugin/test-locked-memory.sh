# SPDX-License-Identifier: BSD-3-Clause
# What a worker locks: at most 32 MiB when idle, 4 MiB more per connection under load, 4 MiB more per GiB
# exported (8 when pages are sealed).  And all of what it uses is locked.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
no_sanitizers "shadow memory"
[ "$(id -u)" = 0 ] || skip "needs root to lock memory"
connections=4

# KiB resident in locked mappings.  Locked of smaps_rollup is the same, but counts a page that other processes map too only in part:
# it would change with whatever nbdkit another test starts.  So this is never less than Locked.
locked() {
    awk '/^Rss:/ { rss = $2 } /^VmFlags:.* lo( |$)/ { sum += rss } END { print sum + 0 }' "/proc/$pid/smaps"
}
resident() {
    sed -n 's/^Rss: *\([0-9]*\) kB/\1/p' "/proc/$pid/smaps_rollup"
}
paused() {
    grep -q paused "$tmp/said"
}
NBDKIT_OPTIONS=(-t 8)
mkfifo "$tmp/go"
for seal in none aes-256-gcm; do
    rm -f "$disk"/*.swap
    start_nbdkit file="$disk/k.swap" size=64M seal=$seal
    idle=$(locked)
    ((idle > 0 && idle <= 32768)) || fail "idle: $idle KiB locked"
    (($(locked) + 256 >= $(resident))) || fail "of $(resident) KiB only $(locked) are locked"

    timeout 300 "$nbdload" "$uri" $connections 16 4000x32 4000 pause <"$tmp/go" >"$tmp/said" 2>&1 &
    load=$!
    exec 5>"$tmp/go"
    wait_until 120 paused
    busy=$(locked)
    (($(locked) + 256 >= $(resident))) || fail "under load: of $(resident) KiB only $(locked) are locked"
    echo >&5
    wait "$load" || fail "load"
    each=$(((busy - idle) / connections))
    ((each <= 4096)) || fail "each of $connections connections locks $each KiB more"
    stop_nbdkit

    # The table.  1 GiB more is written once here, and sparse space would be refused, so a smaller step is measured.
    start_nbdkit file="$disk/g.swap" size=320M seal=$seal
    larger=$(locked)
    stop_nbdkit
    per_gib=$(((larger - idle) * 4))
    # Four times what a few pages elsewhere may differ by.
    limit=4096
    [ $seal = none ] || limit=8192
    ((per_gib >= 0 && per_gib <= limit + 64)) || fail "a GiB costs $per_gib KiB"
    echo "locked, seal=$seal: idle $idle KiB, per connection $each KiB, per GiB $per_gib KiB"
done
