#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdswap check: verifies pages, finds errors, stale and swapped pages, measures, and puts back what was there.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/client/nbd.sh"

requires nbdkit --version
requires jq --version

# A sound server; the latencies are in order.
start_nbdkit memory memory size=64M
expect 0 'every page came back as it was written' "$nbdswap" check "$(unix_uri memory x)"
out=$(timeout 60 "$nbdswap" check --json --pages 500 "$(unix_uri memory x)")
jq -e '.passed and .pages == 500 and .read.count == 500 and .write.count == 500 and
    (.read, .write | 0 < .p50_us and .p50_us <= .p90_us and .p90_us <= .p99_us and .p99_us <= ."p99.9_us" and
    ."p99.9_us" <= .max_us)' <<<"$out" >/dev/null || fail "figures: $out"

# More pages than there are: each of them once.
start_nbdkit tiny memory size=64K
out=$(timeout 60 "$nbdswap" check --json "$(unix_uri tiny x)")
jq -e '.passed and .pages == 16' <<<"$out" >/dev/null || fail "figures: $out"

# What was there is there afterwards: data, zeros and holes.
head -c 8M /dev/urandom >"$tmp/disk"
truncate -s 32M "$tmp/disk"
cp --sparse=never "$tmp/disk" "$tmp/before"
start_nbdkit file file "$tmp/disk"
expect 0 'the old content is in place' "$nbdswap" check --pages 8192 "$(unix_uri file x)"
cmp "$tmp/disk" "$tmp/before" || fail "check changed the export"

# It takes as long as it takes.
start_nbdkit slow --filter=delay memory size=4M rdelay=5ms wdelay=3ms
out=$(timeout 60 "$nbdswap" check --json --pages 50 "$(unix_uri slow x)")
jq -e '.passed and .read.p50_us >= 5000 and .write.p50_us >= 3000' <<<"$out" >/dev/null || fail "figures: $out"

# Errors are found and counted, and the old content still put back.
start_nbdkit errors --filter=error memory size=16M error-pwrite=EIO error-pwrite-rate=20%
expect 1 '[1-9][0-9]* writes .* failed.*first: page at byte [0-9]+: write' "$nbdswap" check "$(unix_uri errors x)"
start_nbdkit unreadable --filter=error memory size=16M error-pread=EIO error-pread-rate=100%
expect 1 '1000 could not be read before' "$nbdswap" check "$(unix_uri unreadable x)"

# A server that answers writes and forgets them, and one that mixes up pages.
start_nbdkit forgets eval get_size="echo 16777216" can_write="exit 0" pwrite="cat >/dev/null" \
    pread="head -c \$3 /dev/zero"
expect 1 '100 pages came back wrong' "$nbdswap" check --pages 100 "$(unix_uri forgets x)"
truncate -s 512K "$tmp/mixed"
start_nbdkit mixes eval get_size="echo 524288" can_write="exit 0" \
    pwrite="dd of=$tmp/mixed oflag=seek_bytes seek=\$((\$4 & ~8191)) conv=notrunc status=none" \
    pread="dd if=$tmp/mixed iflag=skip_bytes,count_bytes skip=\$((\$4 & ~8191)) count=\$3 status=none"
expect 1 '64 pages came back wrong' "$nbdswap" check --pages 128 "$(unix_uri mixes x)"

# Content that may be in use is refused, and so is swap on a server that cannot tell who uses it.
PATH=$PATH:/usr/sbin:/sbin
truncate -s 16M "$tmp/swap"
mkswap -L lbl "$tmp/swap" >/dev/null 2>&1
cp "$tmp/swap" "$tmp/swap.before"
start_nbdkit swap file "$tmp/swap"
expect 4 'swap \(other\), label lbl.*--force' "$nbdswap" check "$(unix_uri swap x)"
expect 0 'every page' "$nbdswap" check --force --pages 4096 "$(unix_uri swap x)"
cmp "$tmp/swap" "$tmp/swap.before" || fail "check --force changed the swap area"
truncate -s 16M "$tmp/fs"
mkfs.ext4 -q "$tmp/fs"
start_nbdkit fs file "$tmp/fs"
expect 4 'ext4 \(filesystem\)' "$nbdswap" check "$(unix_uri fs x)"

# A server that knows who its clients are keeps others off: old swap there is fine, a file system is not.
start_identifying_server knows
mkswap "$tmp/knows.disk" >/dev/null 2>&1
out=$(timeout 60 "$nbdswap" check --json --pages 20 "$(unix_uri knows ws1)") || fail "check: $out"
jq -e '.passed and .identified' <<<"$out" >/dev/null || fail "identity: $out"
expect 4 'does not give out an export "ws2"' "$nbdswap" check "$(unix_uri knows ws2)"
mkfs.ext4 -q -F "$tmp/knows.disk"
expect 4 'ext4' "$nbdswap" check "$(unix_uri knows ws1)"

# Nobody there; something there that says nothing; the server ends in the middle.
expect 5 'no connection' "$nbdswap" check "nbd+unix:///x?socket=$tmp/none.sock"
start_nbdkit dies --filter=delay memory size=64M rdelay=10ms
timeout 60 "$nbdswap" check "$(unix_uri dies x)" >"$tmp/out" 2>&1 &
check=$!
wait_until 30 test -s "$tmp/dies.pid"
sleep 2
kill -KILL "$(cat "$tmp/dies.pid")"
rc=0
wait "$check" || rc=$?
[ "$rc" = 5 ] || fail "exit code $rc after the server's end: $(cat "$tmp/out")"

# Interrupted: what was written until then is put back.
head -c 8M /dev/urandom >"$tmp/disk2"
cp "$tmp/disk2" "$tmp/before2"
start_nbdkit slowfile --filter=delay file "$tmp/disk2" wdelay=5ms
timeout 60 "$nbdswap" check --pages 1000 "$(unix_uri slowfile x)" >"$tmp/out" 2>&1 &
check=$!
differ() { ! cmp -s "$tmp/disk2" "$tmp/before2"; }
wait_until 30 differ
kill -INT "$(pgrep -P "$check" | head -n 1)"
rc=0
wait "$check" || rc=$?
[ "$rc" = 1 ] || fail "exit code $rc when interrupted: $(cat "$tmp/out")"
must_match "$(cat "$tmp/out")" 'it was interrupted'
cmp "$tmp/disk2" "$tmp/before2" || fail "an interrupted check left its pattern behind"
