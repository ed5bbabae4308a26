#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdswapctl upgrade, SIGUSR2 and nbdswapctl reload-worker under load: the daemon is replaced by the program that is there now while its worker
# goes on, or the worker while the daemon does, and no connection ends.  Refused are a program that does not run, a wrong configuration, and
# a daemon that nobody would start again.  What the configuration says otherwise holds from then on; a stop still ends all.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/successor.sh"
requires_resume

resume_conf '[export plain]' 'check = none' '[export checked]' '[export other]'
# An installation of its own, to be replaced.
mkdir "$tmp/bin"
real=$builddir/server/nbdswapd
[ ! -e "$builddir/server/.libs/nbdswapd" ] || real=$builddir/server/.libs/nbdswapd
cp "$real" "$tmp/bin/nbdswapd"
nbdswapd=$tmp/bin/nbdswapd
start_server
for name in plain checked; do
    wait_until 60 export_is "$name" ready
    start_check "$name" --connections 2 --depth 32 --pages 1024
done
four() { [ "$(field '.sessions|length')" = 4 ]; }
wait_until 60 four
worker=$(worker_pid)

# replace FILE: it takes the daemon's program's place, as a package would do it.
replace() {
    cp "$1" "$tmp/bin/new"
    chmod 755 "$tmp/bin/new"
    mv "$tmp/bin/new" "$tmp/bin/nbdswapd"
}
same_worker() {
    one_of_each
    check_runs
    [ "$(worker_pid)" = "$worker" ] || fail "$1: another worker"
    [ "$(field '[.sessions[].state]|unique|join(" ")')" = served ] || fail "$1: sessions: $(field .sessions)"
}

for n in 1 2 3; do
    the_daemon
    before=$daemon
    replace "$real"
    out=$(ctl upgrade) || fail "upgrade $n: $? $out"
    must_match "$out" "^nbdswapd [0-9]+ of version [0-9.]+ took over; worker $worker \\(native\\), 4 sessions\$"
    the_daemon
    [ "$daemon" != "$before" ] || fail "the same daemon"
    [ "$(field .pid)" = "$daemon" ] || fail "not the keeper's child"
    [ "$(stat -L -c %i "/proc/$daemon/exe")" = "$(stat -c %i "$nbdswapd")" ] || fail "not the new program"
    same_worker "upgrade $n"
done

# Told by the keeper, and by a signal of its own.
for target in "$server_pid" daemon; do
    the_daemon
    before=$daemon
    [ "$target" != daemon ] || target=$daemon
    kill -USR2 "$target"
    another() { the_daemon; [ "$daemon" != "$before" ] && worker_ready; }
    wait_until 60 another
    wait_until 60 settled
    same_worker SIGUSR2
done
if grep -q 'was ended by signal' "$log"; then fail "it was killed, and did not leave"; fi

# ---- what is refused, and then nothing has changed ----
refused() {
    local rc=0
    the_daemon
    before=$daemon
    out=$(ctl upgrade 2>&1) || rc=$?
    [ "$rc" = 1 ] || fail "$1: exit status $rc: $out"
    must_match "$out" "$2"
    the_daemon
    [ "$daemon" = "$before" ] || fail "$1: another daemon"
    same_worker "$1"
}
printf '#!/bin/sh\nexit 1\n' >"$tmp/broken"
replace "$tmp/broken"
refused "a broken program" 'bin/nbdswapd does not run.*this nbdswapd stays'
printf '#!/bin/sh\necho "nbdswapd 99"\necho "takes over state 10"\n' >"$tmp/future"
replace "$tmp/future"
refused "a program of another state" 'could not take over from this one.*this nbdswapd stays'
rm "$tmp/bin/nbdswapd"
refused "no program" 'bin/nbdswapd cannot be run: No such file.*this nbdswapd stays'
replace "$real"
cp "$conf" "$tmp/good.conf"
echo 'nonsense = 1' >>"$conf"
refused "a wrong configuration" 'nonsense.*this nbdswapd stays'
cp "$tmp/good.conf" "$conf"

# Killed while the configuration is wrong: it is tried again until it is not, and the worker goes on meanwhile.
echo 'nonsense = 1' >>"$conf"
the_daemon
kill -KILL "$daemon"
tried() { [ "$(grep -c 'unknown key\|nonsense' "$log")" -ge 2 ]; }
wait_until 60 tried
check_runs
cp "$tmp/good.conf" "$conf"
wait_until 60 settled
same_worker "after a wrong configuration"

# ---- what the configuration says by now ----
sed -i 's/^\[export other\]/[export new]/' "$conf"
out=$(ctl upgrade) || fail "upgrade to another configuration: $out"
wait_until 60 export_is new ready
none_other() { [ "$(field '[.exports[]|select(.name=="other")]|length')" = 0 ]; }
wait_until 60 none_other
same_worker "another configuration"

# Another listening socket means another worker; one that is not listened on any more is closed everywhere.
sed -i "s|^listen = .*|& unix:$tmp/more.sock|" "$conf"
out=$(ctl upgrade) || fail "upgrade to another socket: $out"
other_worker() { settled && [ "$(worker_pid)" != "$worker" ]; }
wait_until 60 other_worker
out=$(timeout 60 "$nbdcheck" --unix "$tmp/more.sock" --export new --connections 1 --depth 4 --operations 20 2>&1) || fail "the new socket: $out"
cp "$tmp/good.conf" "$conf"
sed -i 's/^\[export other\]/[export new]/' "$conf"
out=$(ctl upgrade) || fail "upgrade without that socket: $out"
closed() { ! grep -qF "$tmp/more.sock" /proc/net/unix; }
wait_until 60 closed
renamed() { settled && [ "$(field '[.exports[].name]|sort|join(" ")')" = "checked new plain" ]; }
wait_until 60 renamed
worker=$(worker_pid)
same_worker "other sockets"

# ---- the worker ----
longest=0
for n in 1 2 3; do
    out=$(ctl reload-worker --wait) || fail "reload-worker $n: $? $out"
    must_match "$out" '^worker [0-9]+ \(native\) serves; 4 sessions went on after [0-9]+ ms, 0 were cut$'
    ms=$(sed 's/.* after \([0-9]*\) ms.*/\1/' <<<"$out")
    ((ms <= longest)) || longest=$ms
    [ "$(worker_pid)" != "$worker" ] || fail "reload-worker $n: the old worker still serves"
    worker=$(worker_pid)
    same_worker "reload-worker $n"
done
# The worker is being replaced when the daemon dies.
ctl reload-worker >"$tmp/out"
kill_daemon
wait_until 60 settled
[ "$(worker_pid)" != "$worker" ] || fail "the old worker still serves"
one_of_each
check_runs
for name in plain checked; do
    end_check "$name"
    [ "$(value operations)" -ge 1000 ] || fail "$name: $said"
done
if grep -E ' is cut: |LOST' "$log"; then fail "something was lost"; fi
kill -TERM "$server_pid"
wait_server || fail "exit status $?"
[ -z "$(ours nbdswapd; ours nbdswap-engine)" ] || fail "something is left"

# ---- nobody would start it again ----
daemon_options=(--no-keeper)
start_server
rc=0
out=$(ctl upgrade 2>&1) || rc=$?
[ "$rc" = 1 ] || fail "upgrade without a keeper: $rc: $out"
must_match "$out" 'nobody would start nbdswapd again'
kill -USR2 "$server_pid"
stays() { grep -q 'told to leave (SIGUSR2), and it stays' "$log"; }
wait_until 30 stays
worker_ready || fail "it did not stay"
echo "the longest pause of a reload-worker: $longest ms"
