#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two server machines over one directory: an export is given back by the one and activated by the other, while its client works: under the same
# generation, every page right.  Without that nobody takes it over, neither from a server that is there nor from one that is dead.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/client/reach.sh"
requires_worker
requires_backing
requires jq --version
requires qemu-io --version
requires nbdinfo --version
# The other machine: of another name, and another boot.
printf '11111111-2222-4333-8444-555555555555\n' >"$tmp/boot_id"
requires unshare -m -u true

nbdmodel=$builddir/tests/vm/nbdmodel
pages=1024 client='A%26slot%3D0%2F1'
# Two sets of what server.sh knows of one daemon: on A, on B.
make_conf '[export ws1]' "file = $tmp/ws1.swap" 'size = 8M'
sed -i 's/^listen = .*/listen = 127.0.0.1:0/' "$conf"
mkdir "$tmp/B"
sed "s,^control = $tmp/,control = $tmp/B/," "$conf" >"$tmp/B/nbdswapd.conf"
start_server
pid_A=$server_pid
wait_until 60 export_is ws1 ready
uri_at() { printf 'nbd://%s/ws1?client=%s' "$1" "$2" | sed 's/?client=/%3Fclient%3D/'; }
uri_A() { uri_at "$(field '.listen[0]')" "$1"; }
uri_B() { uri_at "$(ctl_B status --json | jq -r '.listen[0]')" "$1"; }
ctl_B() { timeout 60 "$builddir/server/nbdswapctl" "$1" --socket "$tmp/B/control" "${@:2}"; }
state_B() { ctl_B status --json | jq -r ".exports[0].$1"; }
is_B() { [ "$(state_B state)" = "$1" ]; }
model() { timeout 120 "$nbdmodel" "$("uri_$1" "$2")" "$tmp/model" "$pages" "${@:3}" >"$tmp/out" 2>&1; }
all_right() {
    model "$1" "$2" read || fail "$1: $(cat "$tmp/out")"
    must_match "$(tail -n 1 "$tmp/out")" "right=$pages unreadable=0 lost=0 old=0 wrong=0"
}
cat >"$tmp/machine-B" <<EOF
mount --bind "$tmp/boot_id" /proc/sys/kernel/random/boot_id && echo machine-b >/proc/sys/kernel/hostname || exit 77
exec env LD_PRELOAD=$sanitizer "$nbdswapd" --no-keeper --config "$tmp/B/nbdswapd.conf"
EOF
start_B() {
    unshare -m -u bash "$tmp/machine-B" 2>>"$tmp/log-B" &
    pid_B=$!
    cleanup_fn end_process "$pid_B"
    there() { ctl_B status >"$tmp/out" 2>&1; }
    wait_until 60 there
    # shellcheck disable=SC2016 # jq's
    settled() { ctl_B status --json | jq -e '.worker.state == "ready" and (.exports[0].state | . != "activating")' >"$tmp/out"; }
    wait_until 60 settled
}

model A "$client" write || fail "A: $(cat "$tmp/out")"
model A "$client" mix 300 || fail "A: $(cat "$tmp/out")"
generation=$(nbdinfo --json "$(uri_A "$client")" | jq -r '.exports[0].description')
must_match "$generation" '^gen=[0-9]+&lease=[0-9]+$'
back=$client%26${generation/&/%26}

# --- nobody takes it from a machine that has it
start_B
is_B failed || fail "B has it as well: $(ctl_B status)"
must_match "$(ctl_B status)" "is already activated by process [0-9]+ on $(hostname) since"
rc=0
out=$(ctl_B activate ws1 2>&1) || rc=$?
[ "$rc" != 0 ] || fail "B took it"
must_match "$out" 'is already activated by .*; stop it there first'

# --- a client that may not come back is in the way
qemu-io -f raw -c 'sleep 60000' "$(uri_A A)" >"$tmp/out" 2>&1 &
cleanup_fn end_process "$!"
nameless=$!
wait_until 30 client_is ws1 A
rc=0
out=$(ctl deactivate ws1 2>&1) || rc=$?
[ "$rc" = 4 ] || fail "exit code $rc: $out"
must_match "$out" 'in use by .* gave no slot.*deactivate --force'
all_right A "$back"
end_process "$nameless"

# --- given back under a client that works, activated at B
# (It writes behind the pages of the model, always the same.)
yes 'write -P 0x77 4M 1M' | qemu-io -f raw "$(uri_A "$back")" >"$tmp/busy" 2>&1 &
busy=$!
cleanup_fn end_process "$busy"
busy_now() { [ "$(grep -c 'wrote 1048576/' "$tmp/busy")" -gt 20 ]; }
wait_until 30 busy_now
out=$(ctl deactivate ws1) || fail "deactivate: $out"
must_match "$out" 'ws1 has been given back'
wait_until 30 grep -q 'write failed' "$tmp/busy"
end_process "$busy"
must_match "$(ctl status)" 'ws1.*(down|failed)'
must_match "$(ctl status)" 'was deactivated, to be used elsewhere'
if model A "$back" read; then fail "A still gives it out"; fi
# A reload does not take it again.
ctl reload >"$tmp/out" || fail "reload"
must_match "$(ctl_B activate ws1)" 'ws1: active'
is_B ready || fail "B: $(ctl_B status)"
[ "$(field '.exports[]|select(.name=="ws1")|.state')" != ready ] || fail "A took it again"
rc=0
out=$(ctl activate ws1 2>&1) || rc=$?
[ "$rc" != 0 ] || fail "A took it from B"
must_match "$out" 'already activated by process [0-9]+ on machine-b since'
# That client has come back to its own: the same generation, and what it last wrote is there.
[ "$(nbdinfo --json "$(uri_B "$back")" | jq -r '.exports[0].description')" = "$generation" ] || fail "another generation"
all_right B "$back"
qemu-io -f raw -c 'read -P 0x77 4M 1M' "$(uri_B "$back")" >"$tmp/out" 2>&1 || fail "$(cat "$tmp/out")"
must_match "$(cat "$tmp/out")" '^read 1048576/1048576'
# So the watch finds it, which has both addresses, the one that is not it any more first.
listening() { field '.listen[0]'; }
# shellcheck disable=SC2001
lease=$(sed 's,gen=\(.*\)&lease=\(.*\),\1/\2,' <<<"$generation")
reaches 'reached 1 ' --size 8388608 --generation "$lease" "ws1?client=A&slot=0/1&$generation" "$(listening)" \
    "$(ctl_B status --json | jq -r '.listen[0]')"
model B "$back" write || fail "B: $(cat "$tmp/out")" # what that has written
model B "$back" mix 300 || fail "B: $(cat "$tmp/out")"
all_right B "$back"

# --- pages whose key is nobody's afterwards cannot be moved
cat >>"$conf" <<EOF
[export sealed]
file = $tmp/sealed.swap
seal = aes-256-gcm
EOF
could_swap || {
    ctl reload >"$tmp/out" || fail "reload"
    wait_until 60 export_is sealed ready
    if ctl deactivate sealed 2>"$tmp/out"; then fail "deactivated, and its pages lost"; fi
    must_match "$(cat "$tmp/out")" 'sealed with a key that ends with its use here'
}

# --- and back again, in the same way
out=$(ctl_B deactivate ws1) || fail "deactivate at B: $out"
still() { export_is ws1 activating; } # after the reload
still && wait_until 30 eval '! still'
out=$(ctl activate ws1) || fail "activate at A again: $out"
[ "$(nbdinfo --json "$(uri_A "$back")" | jq -r '.exports[0].description')" = "$generation" ] || fail "another generation at A"
all_right A "$back"

# --- without being given back: A dies with its worker, which takes the lock along
worker=$(worker_pid)
kill -KILL "$pid_A"
wait "$pid_A" 2>/dev/null || true
kill -KILL "$worker"
gone() { ! kill -0 "$worker" 2>/dev/null; }
wait_until 30 gone
for how in '' --no-rewrite; do
    rc=0
    # shellcheck disable=SC2086
    out=$(ctl_B activate ws1 $how 2>&1) || rc=$?
    [ "$rc" != 0 ] || fail "B took it from a machine that may not know yet that it has lost it: $out"
    must_match "$out" "was activated by process [0-9]+ on $(hostname) since .*, which has not given it back"
done
if model B "$back" read; then fail "B gives it out"; fi
# The machine itself comes back: as after any unclean end.
start_server
wait_until 60 export_is ws1 ready
if model A "$back" read; then fail "the client resumed on pages that are lost"; fi
must_match "$(tail -n 3 "$log")" 'has lost what client A swapped out'
ctl stop || fail "stop"
wait_server || fail "exit status $?"
must_match "$(ctl_B activate ws1)" 'ws1: active'
if model B "$back" read; then fail "the client resumed at B on pages that are lost"; fi
