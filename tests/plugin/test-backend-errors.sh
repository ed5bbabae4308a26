#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What the backend refuses, as clients see it: a passing error is a pause, a lasting one an error; a request whose client has gone is
# given up; nbdkit ends although requests are held; and the log has one line in place of hundreds.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1
plugin=$builddir/.libs/nbdkit-swapfault-plugin.so
[ -e "$plugin" ] || fail "$plugin was not built"

# faults RULES: from the next start on.  They hit while $tmp/on exists.
faults() {
    export NBDSWAP_FAULTS=$1,trigger=$tmp/on
}
on() { touch "$tmp/on"; }
off() { rm -f "$tmp/on"; }
said() { grep -qE -- "$1" "$log"; }
ended() { ! kill -0 "$1" 2>/dev/null; }
client() { # COMMAND...: in the background, its pid in $client
    timeout 120 "$nbdcmd" "$uri" "$@" >"$tmp/client" 2>&1 &
    client=$!
}
good() { # the client in the background has done what it was to do
    wait "$client" || fail "$1: $(cat "$tmp/client")"
}
lines() { grep -cE -- "$1" "$log" || true; }

# ---- held: reads and writes wait, and go on ----
faults 'rw.*:errno=ETIMEDOUT'
start_nbdkit file="$disk/a.swap" size=16M
"$nbdcmd" "$uri" write 0 1M 7
on
client read 0 1M 7
wait_until 30 said 'a.swap: read of pages? .*: Connection timed out: held and tried again'
ended "$client" && fail "a held read was answered: $(cat "$tmp/client")"
off
good "a held read"
wait_until 10 said 'a.swap: goes on after .* requests? w.* held'
on
client write 2M 1M 9
sleep 0.2 # not waited for: whether the write has met the error by now changes nothing
off
good "a held write"
"$nbdcmd" "$uri" read 0 1M 7 read 2M 1M 9

# ---- given up: the client of a held read is killed; another one comes in, and nothing is held any more ----
stop_nbdkit
: >"$log"
start_nbdkit file="$disk/a.swap"
on
client read 0 128k 7
wait_until 30 said 'held and tried again'
kill -TERM "$client" # timeout hands it on
wait "$client" 2>/dev/null || true
wait_until 30 said 'nothing is held any more after .* 1 request was held, 1 of them given up'

# ---- and of a held write: its pages are lost, not old; those that waited behind it go on ----
: >"$log"
client write 0 128k 8
sleep 0.5 # for no line: this class has had its one of the minute
# A client that waits behind it and goes away does not leave its threads, or what the engine has in their place, waiting.
threads() {
    if [ "${ENGINE:-}" = native ]; then
        status '[.exports[0].sessions]|add'
    else
        ls "/proc/$pid/task" | wc -l
    fi
}
threads_are() { [ "$(threads)" "$1" "$2" ]; }
before=$(threads)
timeout 60 "$nbdcmd" "$uri" read 0 4k 8 >/dev/null 2>&1 &
waiting=$!
wait_until 30 threads_are -gt "$before"
sleep 0.5 # until its request is there; had it not come, nothing would be tested
kill -TERM "$waiting"
wait "$waiting" 2>/dev/null || true
wait_until 30 threads_are -le "$before"
timeout 60 "$nbdcmd" "$uri" expect EIO read 0 4k 8 >"$tmp/second" 2>&1 &
second=$!
kill -TERM "$client" # timeout hands it on
wait "$client" 2>/dev/null || true
wait "$second" || fail "a read that waited for a held write: $(cat "$tmp/second")"
off
"$nbdcmd" "$uri" expect EIO read 0 4k 8 write 0 128k 3 read 0 128k 3

# ---- nbdkit is ended while requests are held: it does not wait for the backend ----
on
client read 0 128k 3
sleep 0.5
seconds=$SECONDS
stop_nbdkit
wait "$client" && fail "a read that was given up was answered as good"
((SECONDS - seconds < 30)) || fail "it took $((SECONDS - seconds)) s to end"
off
echo "ended in $((SECONDS - seconds)) s with a read held"

# ---- retry-time: a write fails when it is over, and its pages are lost ----
: >"$log"
start_nbdkit file="$disk/a.swap" retry-time=1
on
seconds=$SECONDS
timeout 60 "$nbdcmd" "$uri" expect EIO write 4M 64k 5
((SECONDS - seconds <= 20)) || fail "a write was held for $((SECONDS - seconds)) s, retry-time is 1 s"
wait_until 10 said 'write of pages 1024 to 1039: Connection timed out: held for too long .retry-time., answered with an error'
off
"$nbdcmd" "$uri" expect EIO read 4M 4k 5 read 2M 1M 9

# ---- lasting: at once, and one line for all ----
stop_nbdkit
: >"$log"
faults 'rw.*:errno=EIO'
start_nbdkit file="$disk/a.swap"
on
args=()
for ((i = 0; i < 200; i++)); do args+=(expect EIO read "$((2048 + 4 * i))k" 4k 9); done
timeout 60 "$nbdcmd" "$uri" "${args[@]}"
wait_until 10 said 'a.swap: read of page 512: Input/output error: answered with an error'
n=$(lines 'Input/output error')
[ "$n" = 1 ] || fail "200 errors of one class within a minute made $n lines:"$'\n'"$(cat "$log")"
off
"$nbdcmd" "$uri" read 2M 800k 9 # a read that failed has lost nothing
if [ "${ENGINE:-}" = native ]; then # whose daemon ends it when its sessions have ended; the count is in status
    [ "$(status '.exports[0].counters.errors')" = 200 ] || fail "$(status '.exports[0].counters')"
fi
stop_nbdkit
[ "${ENGINE:-}" = native ] || [ "$(lines '199 more since .* pages 513 to 711: answered with an error')" = 1 ] || fail "what was held back is not told: $(cat "$log")"

# ---- one export with 16 MiB of writes that are stuck, and reads of another, which notice nothing ----
: >"$log"
faults 'rw.write:errno=ETIMEDOUT'
for e in stuck other; do
    start_nbdkit file="$disk/$e" size=32M
    stop_nbdkit
done
of() { echo "nbd+unix:///$1%3Fclient=$1?socket=$sock"; }
uri=$(of other)
start_nbdkit "dir=$disk" pool=1M
head -c 16M /dev/urandom >"$tmp/data"
nbdcopy "$tmp/data" "$(of other)"
read_all() { # into $ms
    local from to
    from=$(date +%s%N)
    timeout 60 nbdcopy --requests=1 --connections=1 "$(of other)" "$tmp/back" || fail "reads of the other export"
    to=$(date +%s%N)
    ms=$(((to - from) / 1000000))
}
read_all
alone=$ms
on
timeout 100 nbdcopy --connections=1 --requests=64 --request-size=262144 "$tmp/data" "$(of stuck)" >"$tmp/client" 2>&1 &
client=$!
wait_until 30 said 'stuck: write of pages .*: held and tried again'
read_all
cmp -n $((16 << 20)) "$tmp/data" "$tmp/back" || fail "the other export's pages are not what was written"
echo "reading 32 MiB of another export: $alone ms alone, $ms ms while 16 MiB of writes are stuck"
((ms < 10 * alone + 2000)) || fail "reads took $ms ms, alone $alone ms"
ended "$client" && fail "the stuck writes ended: $(cat "$tmp/client")"
off
good "the writes that were stuck"
nbdcopy "$(of stuck)" "$tmp/back"
cmp -n $((16 << 20)) "$tmp/data" "$tmp/back" || fail "the pages of the stuck writes are not what was written"
stop_nbdkit
