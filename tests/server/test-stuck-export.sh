#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# An export whose backend takes no writes holds 16 MiB of them, from two connections; another export is read and written as ever, and so are
# pages of the stuck one, by a third connection: its reserve for reads is not what writes may take.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires nbdcopy --version
nbdcmd=$builddir/tests/plugin/nbdcmd

export NBDSWAP_FAULTS="rw.write:errno=ETIMEDOUT,trigger=$tmp/away"
make_conf '[export a]' 'size = 32M' 'retry-time = 600' '[export b]' 'size = 32M'
faulty_worker
start_server
wait_until 60 export_is a ready
wait_until 60 export_is b ready

timeout 60 "$nbdcmd" "$(uri a me)" write 24M 256k 7
head -c 16M /dev/urandom >"$tmp/data"
timeout 60 nbdcopy "$tmp/data" "$(uri b me)"
touch "$tmp/away"
for i in 1 2; do
    timeout 300 nbdcopy --requests=64 --connections=1 "$tmp/data" "$(uri a me)" >"$tmp/copy.$i" 2>&1 &
    copy[i]=$!
done
# As many as it may have buffers for, of which those of the second connection wait for the same pages.
stuck() { [ "$(field '.exports[]|select(.name=="a")|.counters.held')" -ge 4 ]; }
wait_until 60 stuck

# Each of these within the time that a request of a healthy export may take on a busy machine.
for ((i = 0; i < 10; i++)); do
    timeout 20 nbdcopy "$(uri b me)" "$tmp/read" || fail "the other export cannot be read"
    head -c 16M "$tmp/read" | cmp - "$tmp/data" || fail "the other export is read wrongly"
    timeout 20 "$nbdcmd" "$(uri a me)" read 24M 256k 7 || fail "the stuck export cannot be read"
done
stuck || fail "what was to be stuck is not"
rm "$tmp/away"
for i in 1 2; do
    wait "${copy[i]}" || fail "a copy failed after all: $(cat "$tmp/copy.$i")"
done
timeout 60 nbdcopy "$(uri a me)" "$tmp/read"
head -c 16M "$tmp/read" | cmp - "$tmp/data" || fail "what was held is not what is there"
