#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A client whose connection was lost finds its export kept, also when somebody has looked at that meanwhile; one that disconnects leaves it to others.
. "${srcdir:-.}/tests/functions.sh" || exit 1
ENGINE=native
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/client/reach.sh"
requires_worker
requires_backing
requires jq --version

make_conf '[export ws1]'
sed -i 's|^listen = .*|listen = 127.0.0.1:0|' "$conf"
start_server
wait_until 60 export_is ws1 ready
at=$(field '.listen[0]')
mkfifo "$tmp/fifo"
timeout 300 "$reachtool" --hold 'ws1?client=A&slot=0/1' 30000 "$at" <"$tmp/fifo" >"$tmp/held" 2>&1 &
first=$!
cleanup_fn end_process "$first"
exec {fd}>"$tmp/fifo"
held() { grep -q '^pages right$' "$tmp/held"; }
wait_until 60 held
back=$(sed -n 's/.* generation \(gen=[0-9]*&lease=[0-9]*\),.*/\1/p' "$tmp/held")
kill -KILL "$(pgrep -P $first -x reachtool)"
nobody() { [ "$(field '.sessions|length')" = 0 ]; }
wait_until 60 nobody
reaches 'size 4194304' 'ws1?client=A' "$at" # a look, which disconnects
fails 'ENOENT: .*is kept for client A .* lost its connection' 'ws1?client=B' "$at"
reaches 'size 4194304' "ws1?$back&client=A&slot=0/1" "$at"
reaches 'size 4194304' 'ws1?client=B' "$at"
