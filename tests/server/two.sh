# SPDX-License-Identifier: BSD-3-Clause
# A second server machine over the same directory: another daemon of the same configuration, under another host's name and boot; to be read
# after tests/server/server.sh.  Both listen on TCP.
# shellcheck shell=bash disable=SC2034,SC2154

printf '11111111-2222-4333-8444-555555555555\n' >"$tmp/boot_id"
requires unshare -m -u true

# two_conf [EXPORT LINES...]: as make_conf, for both.
two_conf() {
    make_conf "$@"
    sed -i 's/^listen = .*/listen = 127.0.0.1:0/' "$conf"
    mkdir -p "$tmp/B"
    sed "s,^control = $tmp/,control = $tmp/B/," "$conf" >"$tmp/B/nbdswapd.conf"
}

ctl_B() { timeout 60 "$builddir/server/nbdswapctl" "$1" --socket "$tmp/B/control" "${@:2}"; }
field_B() { ctl_B status --json | jq -r "$1"; }

_B_there() { ctl_B status >"$tmp/out" 2>&1; }
_B_settled() { ctl_B status --json | jq -e '.worker.state == "ready" and (.exports[0].state | . != "activating")' >"$tmp/out"; }

# start_B: and waits until it has tried to activate what it has; its pid is in $pid_B.
start_B() {
    cat >"$tmp/machine-B" <<EOF
mount --bind "$tmp/boot_id" /proc/sys/kernel/random/boot_id && echo machine-b >/proc/sys/kernel/hostname || exit 77
exec env LD_PRELOAD=$sanitizer "$nbdswapd" --no-keeper --config "$tmp/B/nbdswapd.conf"
EOF
    unshare -m -u bash "$tmp/machine-B" 2>>"$tmp/log-B" &
    pid_B=$!
    cleanup_fn end_process "$pid_B"
    wait_until 60 _B_there
    wait_until 60 _B_settled
}
