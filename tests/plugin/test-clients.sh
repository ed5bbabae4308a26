# SPDX-License-Identifier: BSD-3-Clause
# The clients of libnbd, qemu, fio and nbdkit read back from the plugin what they wrote.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1

head -c 32M /dev/urandom >"$tmp/data"
start_nbdkit file="$disk/c.swap" size=32M

nbdcopy "$tmp/data" "$uri"
nbdcopy "$uri" "$tmp/back"
cmp "$tmp/data" "$tmp/back" || fail "nbdcopy: other content came back"

if command -v qemu-io >/dev/null; then
    out=$(qemu-io -f raw "$uri" -c 'write -P 0xa5 0 1M' -c 'discard 64k 64k' -c 'write -z 256k 4k' -c 'aio_write -P 0x5a 2M 2M' \
        -c aio_flush -c 'read -P 0xa5 0 64k' -c 'read -P 0 64k 64k' -c 'read -P 0xa5 128k 128k' -c 'read -P 0 256k 4k' \
        -c 'read -P 0x5a 2M 2M' -c 'flush')
    must_match "$out" 'read 2097152/2097152'
    ! grep -qiE 'fail|error|mismatch' <<<"$out" || fail "qemu-io:"$'\n'"$out"
    qemu-img convert -n -f raw -O raw "$tmp/data" "$uri"
    qemu-img compare -f raw -F raw "$tmp/data" "$uri" || fail "qemu-img: other content came back"
else
    echo "qemu-io is not installed: left out"
fi

if command -v fio >/dev/null && fio --enghelp | grep -qw nbd; then
    timeout 120 fio --name=verify --ioengine=nbd --uri="$uri" --rw=randwrite --bs=4k --iodepth=32 --size=32M --verify=crc32c \
        --do_verify=1 --verify_fatal=1 --randrepeat=1 --output="$tmp/fio" || fail "fio:"$'\n'"$(cat "$tmp/fio")"
    must_match "$(cat "$tmp/fio")" 'err= 0'
else
    echo "fio with its nbd engine is not installed: left out"
fi

# nbdkit as a client of nbdkit.
if "$nbdkit" --dump-plugin nbd >/dev/null 2>&1; then
    "$nbdkit" -f -U "$tmp/proxy" -P "$tmp/proxy.pid" nbd uri="$uri" >>"$log" 2>&1 &
    cleanup_fn end_process $!
    wait_until 30 test -s "$tmp/proxy.pid"
    nbdcopy "$tmp/data" "nbd+unix:///?socket=$tmp/proxy"
    nbdcopy "nbd+unix:///?socket=$tmp/proxy" "$tmp/back"
    cmp "$tmp/data" "$tmp/back" || fail "through nbdkit's nbd plugin: other content came back"
fi

# And it is all there after a clean stop.
end_process "$(cat "$tmp/proxy.pid" 2>/dev/null || echo 999999999)"
stop_nbdkit
start_nbdkit file="$disk/c.swap"
nbdcopy "$uri" "$tmp/back"
cmp "$tmp/data" "$tmp/back" || fail "after a restart other content came back"
