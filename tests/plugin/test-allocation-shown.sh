# SPDX-License-Identifier: BSD-3-Clause
# A person who starts nbdkit sees the allocation go on, and may interrupt it: the next start resumes.  A log sees no bar.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
requires script --version
requires env --default-signal=INT true # a shell ignores it for what runs in the background
file=$disk/p.swap

# On a terminal.  It is interrupted (by the default action, nbdkit has no handlers yet) as soon as the bar is there.
cat >"$tmp/run" <<EOF
echo \$\$ >"$tmp/run.pid"
exec env --default-signal=INT ${preload:+LD_PRELOAD="$preload"} "$nbdkit" -f -U "$sock" -P "$tmp/pid" "$plugin" file="$file" size=3G "allow=$allow"
EOF
script -q -e -f -c "sh $tmp/run" "$tmp/typescript" </dev/null >/dev/null 2>&1 &
job=$!
cleanup_fn end_process "$job"
has_bar() {
    grep -aqE 'allocating \[[#.]*\] +[0-9]+ %  [0-9.]+ [MG]iB of 3(\.0)? GiB' "$tmp/typescript"
}
wait_until 120 has_bar
kill -INT "$(cat "$tmp/run.pid")"
wait "$job" && fail "interrupted, it went on all the same"
[ ! -e "$tmp/pid" ] || fail "it had been allocated already: this test needs a larger file"
size=$(blocks "$file")

# What is there cannot be used as it is, and is not trusted without a size.
refused 'p.swap: its allocation was interrupted after [0-9]+ %' file="$file" "allow=$allow" rewrite=false
[ "$(blocks "$file")" = "$size" ] || fail "changed by a refusal"

# Begun again with a smaller size, which spares the disk; into a log there is no bar.
start_nbdkit file="$file" size=64M
"$nbdcmd" "$uri" read 0 1M 0 write 0 1M 1 read 0 1M 1
! grep -q allocating "$log" || fail "a bar in a log: $(cat "$log")"
stop_nbdkit

# Resumed: what was written before stays, byte by byte (the filling is random, a new one would differ).
rm "$file"
script -q -e -f -c "sh $tmp/run" "$tmp/typescript" </dev/null >/dev/null 2>&1 &
job=$!
cleanup_fn end_process "$job"
percent() {
    grep -aqE '\] +(1[5-9]|[2-9][0-9]) %' "$tmp/typescript"
}
wait_until 120 percent
kill -TERM "$(cat "$tmp/run.pid")"
wait "$job" && fail "interrupted, it went on all the same"
head -c 64M "$file" | sha256sum >"$tmp/first"
start_nbdkit file="$file" size=3G
stop_nbdkit
head -c 64M "$file" | sha256sum | cmp - "$tmp/first" || fail "the allocation began anew in place of going on"
