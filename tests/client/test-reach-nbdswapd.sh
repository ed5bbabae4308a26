#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The watch's way to a server (client/reach) over TCP to nbdswapd: what it tells is understood, nothing is read behind
# the negotiation, nothing is allocated, and who is refused hears why, where the worker can say it.
. "${srcdir:-.}/tests/functions.sh" || exit 1
. "$srcdir/tests/server/server.sh"
. "$srcdir/tests/client/reach.sh"
requires_worker
requires_backing
requires jq --version

make_conf '[export ws1]' '[export ws2]' 'description = the second'
sed -i 's/^listen = .*/listen = 127.0.0.1:0/' "$conf"
start_server
wait_until 60 export_is ws1 ready
wait_until 60 export_is ws2 ready
at=$(field '.listen[0]')

reaches 'reached 0 size 4194304 flags 0x[0-9a-f]+ blocks 4096/4096/262144 name "ws1' --size 4194304 \
    'ws1?client=machine-A&slot=0/1' "$at"
reaches 'size 4194304' ws2 "$at"
fails 'EMEDIUMTYPE: .*it has 4194304 bytes, and the device 8388608' --size 8388608 'ws1?client=machine-A' "$at"

# nbdkit tells a client nothing but that it is refused.
said() { if [ "$(engine)" = native ]; then echo "$1"; fi; }
fails "ENOENT: $at: the server does not give out the export.*$(said 'it says: there is no export "none" here')" none "$at"

# A second client, while the first has the export; and the first again, in its own slot.
mkfifo "$tmp/fifo"
timeout 300 "$reachtool" --hold 'ws1?client=machine-A&slot=0/1' 30000 "$at" <"$tmp/fifo" >"$tmp/held" 2>&1 &
cleanup_fn end_process "$!"
exec {fd}>"$tmp/fifo"
held() { grep -q '^pages right$' "$tmp/held"; }
wait_until 60 held
wait_until 30 client_is ws1 machine-A
fails "ENOENT: $at: .*$(said 'export "ws1" is in use by client machine-A .* since ')" 'ws1?client=machine-B&slot=0/1' "$at"
back=$(sed -n 's/.* generation \(gen=[0-9]*&lease=[0-9]*\),.*/\1/p' "$tmp/held")
reaches 'size 4194304' "ws1?$back&client=machine-A&slot=0/1" "$at"
exec {fd}>&-
free() { timeout 60 "$reachtool" 'ws1?client=machine-B' 30000 "$at" | grep -q 'pages right'; }
wait_until 60 free

# A generation that is not this export's, and one that the server does not tell.
fails "(ENOENT|EACCES): $at: " 'ws1?gen=999999999&lease=1&client=machine-B' "$at"
fails '(ESTALE: .*content began anew|EMEDIUMTYPE: .*does not tell its generation)' --size 4194304 --generation 999999999/1 \
    'ws1?client=machine-B' "$at"

# The server has gone.
end_process "$server_pid"
fails "ECONNREFUSED: $at: no connection: Connection refused; is the server running" 'ws1?client=machine-A' "$at"
