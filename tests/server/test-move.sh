#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two server machines over one directory: an export is given back by the one and activated by the other, while its client works: under the same
# generation, every page right.  Without that nobody takes it over, neither from a server that is there nor from one that is dead.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/server/two.sh"
. "$srcdir/tests/client/reach.sh"
requires_worker
requires_backing
requires jq --version
requires qemu-io --version
requires nbdinfo --version

nbdmodel=$builddir/tests/vm/nbdmodel
pages=1024 client='A%26slot%3D0%2F1'
two_conf '[export ws1]' "file = $tmp/ws1.swap" 'size = 8M'
start_server
pid_A=$server_pid
wait_until 60 export_is ws1 ready
uri_at() { printf 'nbd://%s/ws1?client=%s' "$1" "$2" | sed 's/?client=/%3Fclient%3D/'; }
uri_A() { uri_at "$(field '.listen[0]')" "$1"; }
uri_B() { uri_at "$(field_B '.listen[0]')" "$1"; }
is_B() { [ "$(field_B '.exports[0].state')" = "$1" ]; }
model() { timeout 120 "$nbdmodel" "$("uri_$1" "$2")" "$tmp/model" "$pages" "${@:3}" >"$tmp/out" 2>&1; }
all_right() {
    model "$1" "$2" read || fail "$1: $(cat "$tmp/out")"
    must_match "$(tail -n 1 "$tmp/out")" "right=$pages unreadable=0 lost=0 old=0 wrong=0"
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
must_match "$(ctl status)" '^ws1 +deactivated'
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
    "$(field_B '.listen[0]')"
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
