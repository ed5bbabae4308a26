#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# FLUSH, and FUA on a write, end at the storage: where that fails to sync they fail, and what asks for neither does not.  On both engines.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_backing
requires jq --version
nbdcmd=$builddir/tests/plugin/nbdcmd
export NBDSWAP_FAULTS="rw.sync:errno=EIO,trigger=$tmp/on"

for ENGINE in ${ENGINE:-native nbdkit}; do
    export ENGINE
    requires_worker
    make_conf '[export a]'
    sed -i 's,nbdkit-swap-plugin,nbdkit-swapfault-plugin,; s,/nbdswap-engine$,&-fault,' "$conf"
    start_server
    wait_until 60 export_is a ready
    nbd() { timeout 60 "$nbdcmd" "$(uri a)" "$@" || fail "$ENGINE: $*"; }
    nbd write 0 64k 1 writefua 0 4k 2 flush
    touch "$tmp/on"
    nbd write 0 64k 3 read 0 64k 3 expect EIO flush expect EIO writefua 128k 4k 4 write 64k 4k 5
    rm "$tmp/on"
    nbd flush writefua 0 4k 6 read 0 4k 6 read 4k 60k 3 read 64k 4k 5
    stopped() { ctl stop; } # once the session has ended
    wait_until 30 stopped
    wait_server || fail "stop: exit status $?"
    rm -f "$tmp"/*.swap
done
