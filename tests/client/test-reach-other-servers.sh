#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The watch's way to a server (client/reach), over TCP to nbdkit and qemu-nbd: what they tell is understood, nothing is
# read behind the negotiation, nothing is allocated, and a failure names address, step and what the server said.
# shellcheck disable=SC2154 # ports are set by start_tcp_nbdkit
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/client/nbd.sh"
. "$srcdir/tests/client/reach.sh"
requires nbdkit --version
requires ss --version

# nbdkit
start_tcp_nbdkit memory memory size=64M
reaches 'reached 0 size 67108864 flags 0x[0-9a-f]+ .*generation not told' "x?client=a&slot=0/1" "127.0.0.1:$memory"
start_tcp_nbdkit sizes --filter=blocksize-policy memory size=4M \
    blocksize-minimum=4096 blocksize-preferred=8192 blocksize-maximum=256K
reaches 'size 4194304 .*blocks 4096/8192/262144 ' x "127.0.0.1:$sizes"
mkdir "$tmp/files"
truncate -s 4M "$tmp/files/ws1"
start_tcp_nbdkit files file dir="$tmp/files"
reaches 'size 4194304 .*name "ws1"' ws1 "127.0.0.1:$files"
fails "ENOENT: 127.0.0.1:$files: the server does not give out the export" ws2 "127.0.0.1:$files"

# Generation and lease, as a description tells them and a name asks for them.
# shellcheck disable=SC2016 # nbdkit's script expands it
start_tcp_nbdkit knows eval open='case "$3" in "ws1?gen=5&lease=2&"*) echo h ;; *) exit 1 ;; esac' get_size="echo 4194304" \
    export_description='echo "swap of one gen=5&lease=2"' can_write="exit 0" can_flush="exit 0" \
    pread="dd if=$tmp/files/ws1 iflag=skip_bytes,count_bytes skip=\$4 count=\$3 status=none" \
    pwrite="dd of=$tmp/files/ws1 oflag=seek_bytes seek=\$4 conv=notrunc status=none"
right="ws1?gen=5&lease=2&client=a"
reaches 'description "swap of one gen=5&lease=2" generation gen=5&lease=2,' \
    --size 4194304 --generation 5/2 "$right" "127.0.0.1:$knows"
fails 'ENOENT: .*does not give out the export' 'ws1?gen=6&lease=2&client=a' "127.0.0.1:$knows"
fails 'ESTALE: .*content began anew \(gen=5&lease=2, and the device has pages of gen=4&lease=2\)' \
    --size 4194304 --generation 4/2 "$right" "127.0.0.1:$knows"
fails 'ESTALE: .*another client has had the export since' --size 4194304 --generation 5/1 "$right" "127.0.0.1:$knows"
fails 'EMEDIUMTYPE: .*it has 4194304 bytes, and the device 4190208' --size 4190208 "$right" "127.0.0.1:$knows"
fails 'EMEDIUMTYPE: .*does not tell its generation' --size 67108864 --generation 5/2 x "127.0.0.1:$memory"

# The first address is dead, the second lives.
reaches 'reached 1 size 4194304' ws1 127.0.0.1:1 "127.0.0.1:$files"
fails "127.0.0.1:1: no connection: Connection refused; is the server running.*; 127.0.0.1:$files: the server does not give" \
    ws2 127.0.0.1:1 "127.0.0.1:$files"

# A server that knows only the oldest form.
start_tcp_nbdkit old -o memory size=4M
fails 'EPROTONOSUPPORT: .*the oldest form of NBD' x "127.0.0.1:$old"

# qemu-nbd, which says its sizes to the byte and structured replies only when they are asked for
requires qemu-nbd --version
truncate -s 8M "$tmp/disk"
qemu-nbd -t -f raw -b 127.0.0.1 -p 0 -x disk -D 'a disk' "$tmp/disk" 2>"$tmp/qemu-nbd.log" &
qemu=$!
cleanup_fn end_process "$qemu"
wait_until 30 listening_port "$qemu"
port=$(listening_port "$qemu")
reaches 'size 8388608 .*description "a disk" generation not told' disk "127.0.0.1:$port"
fails 'ENOENT: .*\(it says: .*other.*\)' other "127.0.0.1:$port"
