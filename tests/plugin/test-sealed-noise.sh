# SPDX-License-Identifier: BSD-3-Clause
# What a client writes cannot be seen in the backing file of a sealed export: while it is in use, after a clean stop, and in the
# table's image.  The same looks at an export without a seal do see it.
. "${srcdir:-.}/tests/plugin/sealed.sh" || exit 1

# use FILE PARAM...: text in the first 4M (each page four times over, in places that a pattern would show), one value in the ninth.
use() {
    local file=$1
    shift
    start_nbdkit file="$file" size=16M "$@"
    cp "$file" "$tmp/before"
    "$nbdcmd" "$uri" text 0 4M 7 readtext 0 4M 7 text 0 2M 8 text 0 2M 7 readtext 0 4M 7 \
        writesame 8M 1M 0x53 readsame 8M 1M 0x53
    # Each of the pages did reach the file.
    for ((p = 0; p < 1024; p += 31)); do
        ! cmp -s -n 4096 -i $((p * 4096)) "$tmp/before" "$file" || fail "page $p of $file was not written"
    done
}

secret_in() {
    grep -qa "secret" "$1"
}
value_in() {
    grep -qa "SSSSSSSS" "$1"
}

use "$disk/plain" seal=none
if "$noise" "$disk/plain" 0 $((4 << 20)) >"$tmp/found"; then fail "text was not told from noise"; fi
echo "without a seal: $(cat "$tmp/found")"
secret_in "$disk/plain" || fail "text was not found in the file of an export without a seal"
stop_nbdkit
value_in "$disk/plain" || fail "a value was not found in the table's image of an export without a seal"

make_key "$tmp/key"
for key in key=ephemeral key-file="$tmp/key"; do
    rm -f "$disk/sealed"
    use "$disk/sealed" "${sealed[@]}" "$key"
    for when in used stopped; do
        [ "$when" = used ] || stop_nbdkit
        "$noise" "$disk/sealed" 0 $((16 << 20)) || fail "$key, $when: the file can be told from noise"
        ! secret_in "$disk/sealed" || fail "$key, $when: text of the client lies in the file"
        ! value_in "$disk/sealed" || fail "$key, $when: a value of the client lies in the file"
    done
    # With the key file also which pages hold what is sealed: 32 bytes for each of 4096 pages.
    [ "$key" = key=ephemeral ] || "$noise" "$disk/sealed" $((16 << 20)) $((4096 * 32)) || fail "the image can be told from noise"
done

# Writing the same once more gives another content: nobody sees that nothing has changed.
start_nbdkit file="$disk/sealed" "${sealed[@]}" key-file="$tmp/key"
save_pages "$disk/sealed" 0 1 "$tmp/once"
"$nbdcmd" "$uri" text 0 4k 7
save_pages "$disk/sealed" 0 1 "$tmp/twice"
! cmp -s "$tmp/once" "$tmp/twice" || fail "the same page is sealed the same way twice"
