# SPDX-License-Identifier: BSD-3-Clause
# An activated worker under random writes touches the file only by aligned direct reads and writes (and fdatasync, when the client
# asks for a flush): nothing is allocated, extended or punched, and the extents afterwards are those of before.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
requires strace -o /dev/null true
file=$disk/d.swap

start_nbdkit file="$file" size=64M
# What the file system knows of the file, the blocks and each extent with its flags.
extents() {
    blocks "$file"
    stat -c %s "$file"
    filefrag -v "$file" 2>/dev/null | sed -n '/^ *[0-9]*:/p' || true
}
"$nbdcmd" "$uri" write 0 4k 1 flush
extents >"$tmp/before"

# Opened for direct I/O.
fd=$(for f in /proc/"$pid"/fd/*; do if [ "$(readlink "$f")" = "$file" ]; then echo "${f##*/}"; fi; done | head -n 1)
[ -n "$fd" ] || fail "nbdkit has no descriptor of the file"
flags=$((8#$(sed -n 's/^flags:[[:space:]]*//p' "/proc/$pid/fdinfo/$fd")))
direct=$((8#40000))
[ "$(uname -m)" = x86_64 ] || direct=$((8#$(printf '#include <fcntl.h>\nO_DIRECT' | cpp -D_GNU_SOURCE | tail -n 1 | sed s/^0//)))
((flags & direct)) || fail "the file is not opened with O_DIRECT"

# The last buffer of a vector is cut short by default; -v shows every length.
strace -f -v -y -s 0 -o "$tmp/trace" -p "$pid" &
tracer=$!
cleanup_fn end_process "$tracer"
wait_until 30 sh -c "nbdinfo --size '$uri' && test -s '$tmp/trace'"
timeout 300 "$nbdload" "$uri" 2 16 6000
"$nbdcmd" "$uri" flush
end_process "$tracer"

# Calls that name the file, by descriptor or by path; a call that another thread interrupted ends in a second line.
grep -F "$file" "$tmp/trace" >"$tmp/calls" || fail "strace saw no call on the file"
[ "$(grep -c 'pwritev\?(' "$tmp/calls")" -gt 500 ] || fail "few writes were seen: $(wc -l <"$tmp/calls") calls"
[ "$(grep -c 'preadv\?(' "$tmp/calls")" -gt 500 ] || fail "few reads were seen"
other=$(grep -vE '^[0-9]+ +(preadv|pwritev|pread64|pwrite64|fdatasync)\(' "$tmp/calls" || true)
[ -z "$other" ] || fail "other calls on the file:"$'\n'"$(head -n 5 <<<"$other")"

# pwritev(8</file>, [{iov_base=""..., iov_len=4096}, ...], 2, 12288) = 8192: lengths, count and offset.  A call during which another
# thread is seen is two lines; a read shows its arguments in the second, which does not name the file.
bad=$(awk -v file="$file" '
    /p(read|write)(v|64) resumed>/ || (index($0, file) && /p(read|write)(v|64)\(/) {
        line = $0
        while (match(line, /iov_len=[0-9]+/)) {
            if (substr(line, RSTART + 8, RLENGTH - 8) % 4096) print "length: " $0
            line = substr(line, RSTART + RLENGTH)
        }
        if (match($0, /\], [0-9]+, [0-9]+( <unfinished|\))/)) {
            split(substr($0, RSTART + 3, RLENGTH - 3), a, ", ")
            if ((a[2] + 0) % 4096) print "offset: " $0
            seen++
        } else if (!/unfinished|pwritev resumed/) print "not understood: " $0
    }
    END { if (seen < 1000) print "only " seen + 0 " calls with their arguments" }' "$tmp/trace")
[ -z "$bad" ] || fail "not whole pages:"$'\n'"$(head -n 5 <<<"$bad")"
# Addresses: direct I/O would refuse others than the device's, the pool's are whole pages (see tests/store).

extents >"$tmp/after"
cmp "$tmp/before" "$tmp/after" || fail "space or extents have changed: $(diff "$tmp/before" "$tmp/after")"
