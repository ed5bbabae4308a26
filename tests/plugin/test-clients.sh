# SPDX-License-Identifier: BSD-3-Clause
# The clients of libnbd, qemu, fio and nbdkit read back from the plugin what they wrote.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
for program in nbdcopy qemu-io qemu-img fio; do requires command -v $program; done
requires sh -c 'fio --enghelp | grep -w nbd'
requires "$nbdkit" --dump-plugin nbd

head -c 32M /dev/urandom >"$tmp/data"
start_nbdkit file="$disk/c.swap" size=32M

nbdcopy "$tmp/data" "$uri"
nbdcopy "$uri" "$tmp/back"
cmp "$tmp/data" "$tmp/back" || fail "nbdcopy: other content came back"

out=$(qemu-io -f raw "$uri" -c 'write -P 0xa5 0 1M' -c 'discard 64k 64k' -c 'write -z 256k 4k' -c 'aio_write -P 0x5a 2M 2M' \
    -c aio_flush -c 'read -P 0xa5 0 64k' -c 'read -P 0 64k 64k' -c 'read -P 0xa5 128k 128k' -c 'read -P 0 256k 4k' \
    -c 'read -P 0x5a 2M 2M' -c 'flush')
must_match "$out" 'read 2097152/2097152'
! grep -qiE 'fail|error|mismatch' <<<"$out" || fail "qemu-io:"$'\n'"$out"
qemu-img convert -n -f raw -O raw "$tmp/data" "$uri"
qemu-img compare -f raw -F raw "$tmp/data" "$uri" || fail "qemu-img: other content came back"

timeout 120 fio --name=verify --ioengine=nbd --uri="$uri" --rw=randwrite --bs=4k --iodepth=32 --size=32M --verify=crc32c \
    --do_verify=1 --verify_fatal=1 --randrepeat=1 --output="$tmp/fio" || fail "fio:"$'\n'"$(cat "$tmp/fio")"
must_match "$(cat "$tmp/fio")" 'err= 0'

# nbdkit as a client of nbdkit.
"$nbdkit" -f -U "$tmp/proxy" -P "$tmp/proxy.pid" nbd uri="$uri" >>"$log" 2>&1 &
cleanup_fn end_process $!
wait_until 30 test -s "$tmp/proxy.pid"
nbdcopy "$tmp/data" "nbd+unix:///?socket=$tmp/proxy"
nbdcopy "nbd+unix:///?socket=$tmp/proxy" "$tmp/back"
cmp "$tmp/data" "$tmp/back" || fail "through nbdkit's nbd plugin: other content came back"

# And it is all there after a clean stop.
end_process "$(cat "$tmp/proxy.pid")"
stop_nbdkit
start_nbdkit file="$disk/c.swap"
nbdcopy "$uri" "$tmp/back"
cmp "$tmp/data" "$tmp/back" || fail "after a restart other content came back"
