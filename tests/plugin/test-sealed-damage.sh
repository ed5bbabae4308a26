# SPDX-License-Identifier: BSD-3-Clause
# Whatever is done to the backing file of a sealed export behind the server's back, a client gets EIO and not a byte that is not its own:
# single bits, pages exchanged, an older copy of a page, of all pages, a page of an earlier activation.  It is said in
# the log, where messages of one kind are held back for a while (the counts are the daemon's to show: tests/server/test-sealed-counts.sh).
. "${srcdir:-.}/tests/plugin/sealed.sh" || exit 1
RANDOM=4711
file=$disk/d
make_key "$tmp/key"
start_nbdkit file="$file" size=4M "${sealed[@]}" key-file="$tmp/key"

write_all() {
    "$nbdcmd" "$uri" text 0 4M "$1" readtext 0 4M "$1"
    : >"$log"
}
# The log has one line a minute, and at the end how many more there were.
count_reports() {
    stop_nbdkit
    reports=$(sed -nE 's/.*: ([0-9]+) more since .*not what was written.*/\1/p; s/.*: read of pages? [0-9].*not what was written.*/1/p' "$log" |
        awk '{ n += $1 } END { print n + 0 }')
    start_nbdkit file="$file" "${sealed[@]}" key-file="$tmp/key"
}
expect_lost() {
    "$nbdcmd" "$uri" expect EIO read $(($1 * 4096)) 4k 0
    "$nbdcmd" "$uri" expect EIO read $(($1 * 4096)) 4k 0 # lost pages stay so
}

write_all 1
flipped=()
for ((i = 0; i < 40; i++)); do
    page=$((RANDOM % 1000))
    [[ " ${flipped[*]} " != *" $page "* ]] || continue
    flipped+=("$page")
    flip "$file" $((page * 4096 + RANDOM % 4096)) $((RANDOM % 8))
done
for page in "${flipped[@]}"; do expect_lost "$page"; done
count_reports
[ "$reports" = "${#flipped[@]}" ] || fail "$reports of ${#flipped[@]} flipped bits were reported: $(cat "$log")"
for ((page = 0; page < 1024; page++)); do
    [[ " ${flipped[*]} " == *" $page "* ]] || echo "readtext $((page * 4096)) 4k 1"
done | xargs -n 300 "$nbdcmd" "$uri"

# Two pages exchanged.
write_all 2
save_pages "$file" 10 1 "$tmp/ten"
save_pages "$file" 20 1 "$tmp/twenty"
put_pages "$file" 10 "$tmp/twenty"
put_pages "$file" 20 "$tmp/ten"
expect_lost 10
expect_lost 20
count_reports
[ "$reports" = 2 ] || fail "exchanged pages: $(cat "$log")"
"$nbdcmd" "$uri" readtext 44k 36k 2

# An older copy of a page, though of the same text.
save_pages "$file" 30 1 "$tmp/old"
"$nbdcmd" "$uri" text 120k 4k 2
: >"$log"
put_pages "$file" 30 "$tmp/old"
expect_lost 30
count_reports
[ "$reports" = 1 ] || fail "an older page: $(cat "$log")"

# An older copy of all.
write_all 3
save_pages "$file" 0 1024 "$tmp/all"
write_all 4
put_pages "$file" 0 "$tmp/all"
for ((page = 0; page < 1024; page++)); do echo "expect EIO readtext $((page * 4096)) 4k 3"; done | xargs -n 300 "$nbdcmd" "$uri"
count_reports
[ "$reports" = 1024 ] || fail "an older copy of all pages: $reports of 1024 reported"

# Written anew they are good again.
write_all 5

# The page of an earlier activation: after an unclean end there is another.
save_pages "$file" 0 1024 "$tmp/all"
stop_nbdkit KILL
start_nbdkit file="$file" "${sealed[@]}" key-file="$tmp/key"
write_all 5
put_pages "$file" 0 "$tmp/all"
for ((page = 0; page < 1024; page += 16)); do expect_lost "$page"; done

# After a clean stop: the image is authenticated too.  One bit of it, and nothing of it is believed.
write_all 6
stop_nbdkit
flip "$file" $((1024 * 4096 + 32 * 77 + 9)) 3
: >"$log"
start_nbdkit file="$file" "${sealed[@]}" key-file="$tmp/key"
"$nbdcmd" "$uri" expect EIO readtext 0 4k 6 expect EIO readtext $((77 * 4096)) 4k 6 expect EIO readtext $((1023 * 4096)) 4k 6
