# SPDX-License-Identifier: BSD-3-Clause
# Changes to a backing file behind the server's back.
# shellcheck shell=bash

# flip FILE BYTE BIT
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    # shellcheck disable=SC2059
    printf "\\x$(printf %02x $((byte ^ (1 << $3))))" | dd of="$1" bs=1 seek="$2" conv=notrunc,fsync status=none
}

# save_pages FILE FIRST COUNT OUT; put_pages FILE FIRST IN
save_pages() {
    dd if="$1" of="$4" bs=4096 skip="$2" count="$3" status=none
}
put_pages() {
    dd if="$3" of="$1" bs=4096 seek="$2" conv=notrunc,fsync status=none
}
