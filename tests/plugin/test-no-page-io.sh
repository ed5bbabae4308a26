# SPDX-License-Identifier: BSD-3-Clause
# Trim, write-zeroes and pages of one value change the page table only, at any size; they, and fresh pages, are read without the file.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
requires strace -o /dev/null true

start_nbdkit file="$disk/z.swap" size=256M
"$nbdcmd" "$uri" write 0 8M 1
before=$(blocks "$disk/z.swap")

strace -f -p "$pid" -o "$tmp/trace" -y &
tracer=$!
cleanup_fn end_process "$tracer"
# Attached to every thread when the first call is seen.
wait_until 30 sh -c "nbdinfo --size '$uri' && test -s '$tmp/trace'"
"$nbdcmd" "$uri" trim 0 256M zero 0 256M trim 4M 4M zero 1M 64k read 0 32M 0 \
    writesame 0 8M 0x5a readsame 0 8M 0x5a writesame 4M 1M 0 readsame 4M 1M 0
end_process "$tracer"
trace=$(grep -F "$disk/z.swap" "$tmp/trace" || true)
[ -s "$tmp/trace" ] || fail "strace saw nothing"
[ -z "$trace" ] || fail "the file was touched:"$'\n'"$trace"
[ "$(blocks "$disk/z.swap")" = "$before" ] || fail "the space of the file has changed"
# That tracing would have seen it:
strace -f -p "$pid" -o "$tmp/trace2" -y &
tracer=$!
wait_until 30 sh -c "nbdinfo --size '$uri' && test -s '$tmp/trace2'"
"$nbdcmd" "$uri" write 0 4k 1
end_process "$tracer"
grep -F "$disk/z.swap" "$tmp/trace2" | grep pwrite >/dev/null || fail "this test does not see writes"
