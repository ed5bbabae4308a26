#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A sealed export is refused where the daemon's machine has swap, to which its key could be written; others are served.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
# A machine with swap, as far as the daemon and its worker can see.
printf 'Filename Type Size Used Priority\n/dev/sda2 partition 1000000 0 -2\n' >"$tmp/swaps"
requires unshare -m mount --bind "$tmp/swaps" /proc/swaps
group=$(sed -n 's/^0:://p' /proc/self/cgroup)
while [ -n "$group" ]; do
    [ "$(cat "/sys/fs/cgroup$group/memory.swap.max" 2>/dev/null || true)" != 0 ] || skip "this control group may use no swap"
    group=${group%/*}
done
cat >"$tmp/nbdswapd" <<END
#!/bin/sh
mount --bind '$tmp/swaps' /proc/swaps && exec '$nbdswapd' "\$@"
END
chmod 755 "$tmp/nbdswapd"
cat >"$tmp/unshared" <<END
#!/bin/sh
exec unshare -m '$tmp/nbdswapd' "\$@"
END
chmod 755 "$tmp/unshared"
nbdswapd=$tmp/unshared

make_conf '[export plain]' '[export sealed]' 'seal = aes-256-gcm'
start_server
wait_until 60 export_is plain ready
wait_until 60 export_is sealed failed
must_match "$(ctl status)" '^sealed: .*seal = aes-256-gcm: swap is on here \(/dev/sda2\) and keys could be written to it; set MemorySwapMax=0'
[ ! -e "$tmp/sealed.swap" ] || fail "a refused export was allocated"
