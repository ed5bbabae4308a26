#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The unit as it is installed, under a real systemd: the daemon is killed, restarted and upgraded under load, and its worker goes on with every
# session, for systemd keeps its descriptors; a stop ends all in order.
# shellcheck disable=SC2154,SC2016 # srcdir and the like come from functions.sh; quoted commands are for the guest
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/vm/vm.sh"
. "$srcdir/tests/vm/product.sh"
requires test -x /lib/systemd/systemd
requires command -v unshare
nbdcheck=$builddir/tests/engine/nbdcheck

vm_start server mem=768 disks="data:300"
vm_wait server
vm_run server 120 'mkfs.ext4 -q /dev/disk/by-id/virtio-data && mkdir -p /mnt/data && mount /dev/disk/by-id/virtio-data /mnt/data' || fail "no disk"
swap_configure server '[export swap]' 'file = /mnt/data/%n.swap' 'size = 16M' '[export other]' 'file = /mnt/data/%n.swap' 'size = 4M'

# The unit with the programs of the build tree, which may lie in /tmp, and nothing of this machine's units beside it.
sed -e "s|^ExecStart=.*|ExecStart=$builddir/server/nbdswapd --config /etc/nbdswapd.conf|" -e '/^After=/d; /^Wants=/d; /^Documentation=/d; /^PrivateTmp=/d' \
    -e 's/^\[Unit\]/&\nDefaultDependencies=no/; s|^\[Service\]|&\nStandardError=append:/run/nbdswapd.log|' "$builddir/conf/nbdswapd.service" |
    vm_put server /etc/systemd/system/nbdswapd.service 644
# In a namespace of processes it is the first one.
vm_run server 60 'mkdir -p /sys/fs/cgroup/under && mount --make-rprivate / && rm -rf /run/systemd'
vm_spawn manager server "$tmp/systemd.log" 1200 "unshare --fork --pid --mount --mount-proc --kill-child env container=test SYSTEMD_LOG_TARGET=console \
    /lib/systemd/systemd --system --unit=nbdswapd.service --log-level=info --show-status=no"

show_guest_log() { ! vm_alive server || vm_run server 20 'tail -n 60 /run/nbdswapd.log' | sed 's/^/log: /'; }
inside='nsenter -t $(pgrep -xo systemd) -m -p'
# manage COMMAND...: systemctl there.
manage() { vm_run server 120 "$inside systemctl $*"; }
status() { vm_run server 60 "$nbdswapctl status --socket /run/nbdswapd.sock --json"; }
field() { status 2>/dev/null | jq -r "$1"; }
serving() {
    kill -0 "$manager" 2>/dev/null || fail "systemd ended: $(tail -n 30 "$tmp/systemd.log")"
    [ "$(field '[.worker.state, (.worker.unheard // false)] + [.exports[].state] | unique | map(tostring) | join(" ")')" = "false ready" ]
}
cleanup_fn show_guest_log
wait_until 240 serving
say "nbdswapd serves under $(vm_run server 60 '/lib/systemd/systemd --version | head -n 1')"
worker=$(field .worker.pid)
# Little of it, or the emulated processor has time for nothing else.
vm_spawn check server "$tmp/check" 900 "$nbdcheck --port 10809 --export swap --connections 2 --depth 2 --pages 256"
two() { [ "$(field '.sessions|length')" = 2 ]; }
wait_until 60 two

# same WHAT: another daemon, the same worker, the same sessions, one of each.
n=0
same() {
    n=$((n + 1))
    another() { serving && [ "$(field .pid)" != "$before" ]; }
    wait_until 120 another
    kill -0 "$check" 2>/dev/null || fail "$1: the client ended: $(cat "$tmp/check")"
    [ "$(field .takeovers)" = "$n" ] || fail "$1: $(field .takeovers) takeovers, not $n"
    [ "$(field .worker.pid)" = "$worker" ] || fail "$1: another worker"
    [ "$(field '[.sessions[].state]|join(" ")')" = "served served" ] || fail "$1: sessions $(field .sessions)"
    [ "$(vm_run server 60 'pgrep -xc nbdswapd; pgrep -xc nbdswap-engine' | tr '\n' ' ')" = "1 1 " ] || fail "$1: not one of each"
    before=$(field .pid)
    say "$1"
}
before=$(field .pid)
for k in 1 2 3; do
    vm_run server 60 'kill -KILL $(pgrep -x nbdswapd)'
    same "killed $k"
done
manage restart nbdswapd || fail "systemctl restart"
same "restarted"
vm_run server 120 "$nbdswapctl upgrade --socket /run/nbdswapd.sock" || fail "upgrade"
same "upgraded"
# Both at once.
vm_run server 60 'kill -KILL $(pgrep -x nbdswapd) $(pgrep -x nbdswap-engine)'
another() { serving && [ "$(field .pid)" != "$before" ] && [ "$(field '[.sessions[].state]|join(" ")')" = "served served" ]; }
wait_until 120 another
say "killed with its worker"

kill -TERM "$check"
rc=0
wait "$check" || rc=$?
must_match "$(cat "$tmp/check")" '^nbdcheck: ok: ' "the client ($rc)"
tail -n 1 "$tmp/check"
# The client reads what it is writing, so a check may fail at the first read and not be one.
say "$(field '[.exports[].counters|"\(.checks_failed) checks failed, \(.reread_good) right at the second read of a page that nobody was writing"]|.[0]')"
manage stop nbdswapd || fail "systemctl stop"
none() { ! vm_run server 60 'pgrep -x "nbdswapd|nbdswap-engine"'; }
wait_until 60 none
manage start nbdswapd || fail "systemctl start"
wait_until 120 serving
[ "$(field .takeovers)" = 0 ] || fail "something was left by a stop"
[ "$(field '[.exports[].pages.lost]|add')" = 0 ] || fail "pages were lost by a stop"
manage stop nbdswapd || fail "systemctl stop"
kill -TERM "$manager"
vm_dmesg_clean server
vm_stop server
