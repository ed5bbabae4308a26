#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Each refusal of the preflight that a host without spare devices can show, with its own message and remedy, and that
# nothing is changed by it. Machine and server are looked at together, so one run may show several.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/client/nbd.sh"

run="$tmp/run"
dry() {
    timeout 60 "$nbdswap" attach --dry-run --json --state-dir "$run" --loopback-i-know "$@"
}

# refused ITEM CODE REGEX ARG...: this item is among the refusals, with this exit code and text
refused() {
    local item=$1 code=$2 regex=$3 rc out text
    shift 3
    rc=0
    out=$(dry "$@") || rc=$?
    [ "$rc" != 0 ] || fail "not refused: $*"
    text=$(jq -r --arg i "$item" '.preflight[] | select(.item == $i and .verdict == "refuse") | "\(.code) \(.text)"' <<<"$out")
    must_match "$text" "^$code .*($regex)" "the refusal of $item by: $*"$'\n'"$out"$'\n'"which"
}

requires jq --version
requires nbdkit --version

start_tcp_nbdkit good memory size=64M
start_tcp_nbdkit small memory size=512K
start_tcp_nbdkit odd memory size=1048577
start_tcp_nbdkit readonly -r memory size=64M
start_tcp_nbdkit blocks --filter=blocksize-policy memory size=64M blocksize-minimum=8192 blocksize-preferred=8192
start_tcp_nbdkit narrow --filter=blocksize-policy memory size=64M blocksize-maximum=65536
start_tcp_nbdkit slow --filter=delay memory size=64M rdelay=7ms
start_tcp_nbdkit nodiscard --filter=nozero eval get_size="echo 67108864" can_write="exit 0" pwrite="cat >/dev/null" \
    pread="head -c \$3 /dev/zero"
truncate -s 64M "$tmp/other" "$tmp/another"
start_tcp_nbdkit files file dir="$tmp"

refused reach 5 'Connection refused.*is it running' nbd://127.0.0.1:1/x
refused export 4 'no export "nothere".*it offers: .*other' "nbd://127.0.0.1:$files/nothere"
refused size 4 'less than 1 MiB; make it larger' "nbd://127.0.0.1:$small/x"
refused size 4 'not a multiple of a page \(4096\); change it' "nbd://127.0.0.1:$odd/x"
refused writable 4 'read-only; make it writable' "nbd://127.0.0.1:$readonly/x"
refused block-size 4 'no request below 8192' "nbd://127.0.0.1:$blocks/x"
refused block-size 4 'no request above 65536' "nbd://127.0.0.1:$narrow/x"
refused nbd-client 4 'cannot be run.*install it' --via nbd-client --nbd-client /no/such "nbd://127.0.0.1:$good/x"
refused nbd-client 4 'no-such-program is not installed; install it' --via nbd-client --nbd-client no-such-program "nbd://127.0.0.1:$good/x"
refused address 5 'cannot be resolved' nbd://no-such-host.invalid/x
[ "$(id -u)" != 0 ] || refused device '[24]' 'not an nbd device' --device sda "nbd://127.0.0.1:$good/x"
refused device 4 'no device nbd999; name another' --device nbd999 "nbd://127.0.0.1:$good/x"
[ -e /sys/block/nbd0 ] || [ "$(id -u)" != 0 ] || refused module 4 'no nbd devices.*CONFIG_BLK_DEV_NBD' "nbd://127.0.0.1:$good/x"

# The machine itself, under every name it has.
command -v ip >/dev/null || skip "ip is not installed (Debian: iproute2)"
mapfile -t own < <(ip -br addr | tr -s ' ' '\n' | sed -nE 's#^([0-9.]+)/[0-9]+$#\1#p; s#^([0-9a-f]*:[0-9a-f:]+)/[0-9]+$#[\1]#p')
[ "${#own[@]}" -gt 0 ] || fail "this machine has no address"
for host in localhost 127.9.9.9 '[::ffff:127.0.0.1]' "${own[@]}"; do
    run_rc rc out timeout 60 "$nbdswap" attach --dry-run --state-dir "$run" "nbd://$host:$good/x"
    must_match "$out" 'cannot swap to itself' "attach of $host"
done

# What is said but does not refuse.
said() {
    local item=$1 regex=$2 out
    shift 2
    out=$(dry "$@") || true
    must_match "$(jq -r --arg i "$item" '.preflight[] | select(.item == $i and .verdict == "warn") | .text' <<<"$out")" \
        "$regex" "the warning about $item"
}
said latency 'takes [0-9]+\.[0-9] ms' "nbd://127.0.0.1:$slow/x"
said trim 'no discards' "nbd://127.0.0.1:$nodiscard/x"
said identity 'does not take a client.s identity' "nbd://127.0.0.1:$files/other"
said address 'deadlocks' "nbd://127.0.0.1:$good/x"

# What is attached already.
if [ "$(id -u)" = 0 ]; then
    mkdir -m 700 "$run"
    cat >"$run/nbd7.json" <<END
{ "version": 3, "servers": "127.0.0.1:1", "swap_type": -1, "flags": 0, "generation": "", "device": "nbd7", "uri": "nbd://127.0.0.1:$good/x", "host": "127.0.0.1", "port": "$good", "export": "x",
  "client": "", "size": 67108864, "label": "", "uuid": "", "discard": "none", "dead_link_timeout": 1,
  "io_timeout_before": -1, "rotational_before": -1, "link_inode": 0, "link_port": 0, "attached_at": 0 }
END
    refused attached 6 'attached already, as nbd7' "nbd://127.0.0.1:$good/x"
    # A state is not yet swap: what an interrupted detach left is no success.
    echo "nbd://127.0.0.1:$good/x" >"$tmp/tab"
    expect 6 'attached already, as nbd7; if swap on it is off, run .nbdswap detach nbd7' "$nbdswap" attach --all --swaptab "$tmp/tab" --state-dir "$run"
    expect 6 'in use by this machine, as nbd7; detach it' "$nbdswap" check --state-dir "$run" "nbd://127.0.0.1:$good/x"
    expect 6 'in use by this machine' "$nbdswap" check --state-dir "$run" "NBD://127.0.0.1:$good/%78"
    if [ ! -e /sys/block/nbd7 ]; then
        expect 1 'nbd7 .* gone' "$nbdswap" status --state-dir "$run"
        expect 1 '"link": "gone"' "$nbdswap" status --json --state-dir "$run"
        # A device that is gone leaves nothing but its state, which detach removes.
        expect 0 'nbd7 is detached' "$nbdswap" detach --state-dir "$run" nbd7
        [ -z "$(ls -A "$run")" ] || fail "detach left $(ls -A "$run")"
        expect 1 'is not attached' "$nbdswap" detach --state-dir "$run" nbd7
    fi
    expect 0 'nothing is attached' "$nbdswap" status --state-dir "$run"
    expect 0 '' "$nbdswap" detach --all --state-dir "$run"
fi

# Without root, when there is somebody to be.
if [ "$(id -u)" = 0 ] && setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$nbdswap"; then
    nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    expect 8 'only root can attach' "${nobody[@]}" "$nbdswap" attach "nbd://127.0.0.1:$good/x"
    expect 8 'only root can detach' "${nobody[@]}" "$nbdswap" detach nbd0
    mkdir -m 700 "$tmp/closed"
    expect 8 'only root can' "${nobody[@]}" "$nbdswap" status --state-dir "$tmp/closed"
fi

# Not a dry run: refused all the same, and nothing stays.
if [ "$(id -u)" = 0 ] && [ ! -e /sys/block/nbd0 ]; then
    expect 4 'no nbd devices' "$nbdswap" attach --loopback-i-know --state-dir "$tmp/fresh" "nbd://127.0.0.1:$good/x"
    [ -z "$(ls -A "$tmp/fresh")" ] || fail "a refused attach left $(ls -A "$tmp/fresh")"
fi
