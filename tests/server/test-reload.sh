#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Reload takes over everything or nothing; a removed export with a client is kept until the client goes.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
requires_worker
requires_backing
requires jq --version
requires qemu-io --version
requires nbdcopy --version

make_conf '[export a]' '[export b]'
start_server
wait_until 60 export_is a ready
wait_until 60 export_is b ready
names() { field '[.exports[].name]|join(" ")'; }

# Add and remove, by signal.
make_conf '[export a]' '[export c]'
kill -HUP "$server_pid"
names_are() { [ "$(names)" = "$1" ]; }
wait_until 60 names_are "a c"
wait_until 60 export_is c ready
nbdinfo "$(uri c)" >"$tmp/out" || fail "an added export cannot be had"
if nbdinfo "$(uri b)" >"$tmp/out" 2>&1; then fail "a removed export can be had"; fi

# A bad file changes nothing, also not what is good in it, and says why.
make_conf '[export d]' '[export e]' 'size = x'
rc=0
out=$(ctl reload 2>&1) || rc=$?
[ "$rc" = 3 ] || fail "exit status $rc, not 3"
must_match "$out" 'size: "x" is not a size'
names_are "a c" || fail "a refused reload changed the exports: $(names)"

# Nor does a socket that cannot be had: the export beside it is not added, the other new socket is closed again.
make_conf '[export a]' '[export c]' '[export d]'
mkdir "$tmp/dir.sock"
sed -i "s|^listen.*|& unix:$tmp/new.sock unix:$tmp/dir.sock|" "$conf"
rc=0
out=$(ctl reload 2>&1) || rc=$?
[ "$rc" = 3 ] || fail "exit status $rc, not 3"
must_match "$out" 'dir.sock exists and is not a socket'
names_are "a c" || fail "a refused reload changed the exports: $(names)"
[ ! -e "$tmp/new.sock" ] || fail "a refused reload left its new socket"

# A new address, with nobody attached: another worker serves both.
sed -i "s| unix:$tmp/dir.sock||" "$conf"
before=$(worker_pid)
must_match "$(ctl reload)" '^changed: listen$'
renewed() { worker_ready && [ "$(worker_pid)" != "$before" ]; }
wait_until 60 renewed
wait_until 60 export_is d ready
nbdinfo "nbd+unix:///d?socket=$tmp/new.sock" >"$tmp/out" || fail "the new address does not serve"
nbdinfo "$(uri a)" >"$tmp/out" || fail "the old address does not serve any more"

# Keys that need a restart are named.
sed 's/^stop-timeout.*/threads = 3\npool = 2M/' "$conf" >"$tmp/x" && cp "$conf" "$tmp/good" && cp "$tmp/x" "$conf"
if out=$(ctl reload 2>&1); then fail "changed threads were accepted"; fi
must_match "$out" 'threads has changed, which needs a restart'
must_match "$out" 'pool has changed, which needs a restart'
cp "$tmp/good" "$conf"
must_match "$(ctl reload; echo end)" '^end$'

# With a client attached.
hold_open a machine-A
before=$(worker_pid)
sed -i "s|^listen.*|listen = unix:$tmp/nbd.sock|" "$conf"
if out=$(ctl reload 2>&1); then fail "sockets were changed under a client"; fi
must_match "$out" 'listen has changed while 1 sessions are attached'
cp "$tmp/good" "$conf"
sed -i 's/^\[export a\]/&\nsize = 8M/' "$conf"
if out=$(ctl reload 2>&1); then fail "the size was changed under a client"; fi
must_match "$out" '\[export a\]: size has changed while client machine-A is attached'
sed -e '/^\[export a\]/d' "$tmp/good" >"$conf"
must_match "$(ctl reload)" '^removed, kept until its client goes: a$'
must_match "$(ctl status)" '^a +removed, ready .*machine-A'
[ "$(worker_pid)" = "$before" ] || fail "the worker was replaced"
# Its client may come back on another connection, others may not have it, and its file is not for another export.
nbdinfo "$(uri a machine-A)" >"$tmp/out" || fail "the client of a removed export cannot come back"
if nbdinfo "$(uri a machine-B)" >"$tmp/out" 2>&1; then fail "a removed export was given to another"; fi
printf '[export thief]\nfile = %s/a.swap\n' "$tmp" >>"$conf"
if out=$(ctl reload 2>&1); then fail "the file of a kept export was given away"; fi
must_match "$out" 'file .*a.swap is still in use by export a, which was removed'
let_go machine-A
wait_until 60 names_are "c d"
must_match "$(ctl reload)" '^added: thief$'
wait_until 60 export_is thief ready

# retry-time changes at once, also under a client; the rules of its pages do not, and the refusal names the first of them.
sed -i 's|^size = 4M|&\nretry-time = 7|' "$conf"
cp "$conf" "$tmp/good"
hold_open c machine-C
must_match "$(ctl reload)" '^changed: c$'
rule_of() { field ".exports[]|select(.name==\"$1\")|.rules.$2"; }
[ "$(rule_of c retry_time)" = 7 ] || fail "retry-time is $(rule_of c retry_time)"
for rule in 'check = none' 'seal = aes-256-gcm'; do
    sed "s|^\[export c\]|&\n$rule|" "$tmp/good" >"$conf"
    if out=$(ctl reload 2>&1); then fail "$rule was accepted under a client"; fi
    must_match "$out" "\[export c\]: ${rule%% *} has changed while client machine-C is attached; detach it first"
done
[ "$(rule_of c check)" = xxh3 ] || fail "check is $(rule_of c check)"
let_go machine-C
sed 's|^\[export c\]|&\ncheck = none|' "$tmp/good" >"$conf"
must_match "$(ctl reload)" '^changed: c$'
rule_is() { export_is "$1" ready && [ "$(rule_of "$1" "$2")" = "$3" ]; }
wait_until 60 rule_is c check none
[ "$(rule_of c retry_time)" = 7 ] || fail "retry-time is $(rule_of c retry_time)"
[ "$(rule_of d check)" = xxh3 ] || fail "another export's check is $(rule_of d check)"
cp "$tmp/good" "$conf"
must_match "$(ctl reload)" '^changed: c$'
wait_until 60 rule_is c check xxh3

# Changed with nobody attached: activated anew with the new size (its file is a new one).
sed -i "s|^\[export c\]|&\nfile = $tmp/c2.swap\nsize = 1M|" "$conf"
must_match "$(ctl reload)" '^changed: c$'
size_is() { export_is c ready && [ "$(field '.exports[]|select(.name=="c")|.size')" = "$1" ]; }
wait_until 60 size_is 1048576
[ "$(nbdinfo --size "$(uri c)")" = 1048576 ] || fail "the worker serves the old size"

# Renamed, and files exchanged: each waits until the other has given back its file, and pages stay with the file.
head -c 4194304 /dev/urandom >"$tmp/data"
make_conf '[export p]' '[export q]'
ctl reload >"$tmp/out"
wait_until 60 names_are "p q"
wait_until 60 export_is p ready
wait_until 60 export_is q ready
nbdcopy "$tmp/data" "$(uri p)"
make_conf '[export r]' "file = $tmp/q.swap" '[export q]' "file = $tmp/p.swap"
must_match "$(ctl reload)" '^removed: p$'
wait_until 60 names_are "q r"
wait_until 60 export_is q ready
wait_until 60 export_is r ready
nbdcopy "$(uri q)" "$tmp/copy"
cmp "$tmp/data" "$tmp/copy" || fail "the pages did not stay with the file"

# Taken out, and put in again while it is still being released: it comes back.
worker=$(worker_pid)
cleanup_fn kill -CONT "$worker"
nbdinfo "$(uri q)" >"$tmp/out"
cp "$conf" "$tmp/good"
sed -i '/^\[export q\]/,$d' "$conf"
kill -STOP "$worker"
must_match "$(ctl reload)" '^removed: q$'
export_is q releasing || fail "q is not being released: $(ctl status)"
cp "$tmp/good" "$conf"
must_match "$(ctl reload)" '^added: q$'
kill -CONT "$worker"
wait_until 60 export_is q ready
nbdcopy "$(uri q)" "$tmp/copy"
cmp "$tmp/data" "$tmp/copy" || fail "the pages did not stay with the file"
