# SPDX-License-Identifier: BSD-3-Clause
# The servers that the bench compares.  Sourced after plugin-functions.sh ($nbdkit, $plugin, $allow, $disk, $log).
#
# A server is named BASE or BASE@THREADS (nbdkit's -t; without it $threads).  What is known of one that runs is in the arrays below, by
# NAME/TRANSPORT: pid_of is the process that moves pages, job_of the one that was started (nbdswapd, for its engine).
# shellcheck shell=bash disable=SC2034,SC2154

declare -A uri_of pid_of job_of file_of

all_servers="engine-plain engine-checked engine-sealed engine-host plain checked sealed host qemu-native qemu-uring nbd-server file file-nocache null"

# is_ours BASE: has a page table.
is_ours() {
    case $1 in engine-* | plain | checked | sealed | host) ;; *) return 1 ;; esac
}

# io_of BASE: what the server's I/O on pages must look like, which prove.sh compares with what the kernel counted.
#   direct  every byte goes to the device when it is asked for, through a descriptor with O_DIRECT
#   cached  through the page cache: the kernel moves them when it likes
#   none    there is no file
io_of() {
    case $1 in
    engine-* | plain | checked | sealed | host | qemu-native | qemu-uring | storage) echo direct ;;
    null) echo none ;;
    *) echo cached ;;
    esac
}

# describe BASE: for the legend.
describe() {
    case $1 in
    engine-plain) echo "nbdswapd's native engine without checks (check = none)" ;;
    engine-checked) echo "nbdswapd's native engine as it is by default" ;;
    engine-sealed) echo "nbdswapd's native engine, sealed (AES-256-GCM)" ;;
    engine-host) echo "nbdswapd's native engine, survive = host: records and flushes before the answer" ;;
    plain) echo "nbdswap's plugin without checks (check=none)" ;;
    checked) echo "nbdswap's plugin as it is by default" ;;
    sealed) echo "nbdswap's plugin, sealed (AES-256-GCM)" ;;
    host) echo "nbdswap's plugin with survive=host" ;;
    qemu-native) echo "qemu-nbd --cache=none --aio=native (direct I/O)" ;;
    qemu-uring) echo "qemu-nbd --cache=none --aio=io_uring (direct I/O)" ;;
    nbd-server) echo "nbd-server with 16 threads a client (page cache)" ;;
    file) echo "nbdkit's file plugin (page cache)" ;;
    file-nocache) echo "nbdkit's file plugin, cache=none (page cache, dropped at once)" ;;
    null) echo "nbdkit's null plugin: no storage, what the protocol and nbdkit allow" ;;
    storage) echo "fio with io_uring and O_DIRECT on the file: no network, what the storage allows" ;;
    esac
}

# why_not BASE: prints why this server cannot be here, or nothing.
why_not() {
    case $1 in
    plain | engine-plain | engine-checked | engine-host) ;;
    engine-sealed) if swap_is_on; then echo "swap is on here, and keys must not reach it"; fi ;;
    checked) plugin_knows check || echo "this plugin has no parameter check" ;;
    sealed) plugin_knows seal || echo "this plugin has no parameter seal" ;;
    host) plugin_knows survive || echo "this plugin has no parameter survive" ;;
    qemu-*) command -v qemu-nbd >/dev/null || echo "qemu-nbd is not installed (Debian: qemu-utils)" ;;
    nbd-server) find_nbd_server >/dev/null || echo "nbd-server is not installed (Debian: nbd-server)" ;;
    file | file-nocache | null)
        "$nbdkit" "${1%-nocache}" --dump-plugin >/dev/null 2>&1 || echo "nbdkit has no plugin ${1%-nocache}"
        ;;
    *) echo "there is no such server; there are: $all_servers" ;;
    esac
}

swap_is_on() {
    [ "$(wc -l </proc/swaps)" -gt 1 ]
}
plugin_knows() {
    "$nbdkit" "$plugin" --help | grep -q "^$1="
}
find_nbd_server() {
    PATH=$PATH:/usr/sbin command -v nbd-server
}

# A file as everybody gets it: every byte of it really written, nothing of it left in the page cache.
make_file() { # PATH
    dd if="$data" of="$1" bs=1M oflag=direct conv=fsync status=none
}

# launch NAME TRANSPORT PORT: starts it on that port or on its socket; sets $job, and file_of.
launch() {
    local name=$1 transport=$2 port=$3 base=${1%@*} t=$threads command=() options=()
    local key=$name/$transport sock=$disk/$name.$transport.sock file=$disk/$name.$transport
    [ "$base" = "$name" ] || t=${name#*@}
    rm -f "$sock"
    uri_of[$key]="nbd://127.0.0.1:$port"
    [ "$transport" = tcp ] || uri_of[$key]="nbd+unix:///?socket=$sock"
    file_of[$key]=$file
    options=(-U "$sock")
    [ "$transport" = unix ] || options=(-i 127.0.0.1 -p "$port")
    case $base in
    plain | checked | sealed | host)
        command=("$nbdkit" -f "${options[@]}" -t "$t" "$plugin" "file=$file" "size=$size" "allow=$allow")
        case $base in
        plain) if plugin_knows check; then command+=(check=none); fi ;;
        sealed) command+=(seal=aes-256-gcm key=ephemeral) ;;
        host) command+=(survive=host) ;;
        esac
        ;;
    null)
        file_of[$key]=
        command=("$nbdkit" -f "${options[@]}" -t "$t" null "size=$size")
        ;;
    file) command=("$nbdkit" -f "${options[@]}" -t "$t" file "file=$file" cache=default) ;;
    file-nocache) command=("$nbdkit" -f "${options[@]}" -t "$t" file "file=$file" cache=none) ;;
    qemu-*)
        options=(-k "$sock")
        [ "$transport" = unix ] || options=(-b 127.0.0.1 -p "$port")
        command=(qemu-nbd -t -e 16 -f raw --cache=none "--aio=${base#qemu-}" "${options[@]}" "$file")
        command=("${command[@]/--aio=uring/--aio=io_uring}")
        ;;
    nbd-server)
        launch_nbd_server "$key" "$sock" "$port" "$transport"
        return
        ;;
    engine-*)
        launch_engine "$key" "$base" "$sock" "$port" "$transport"
        return
        ;;
    esac
    [[ $(io_of "$base") = none || -e $file ]] || is_ours "$base" || make_file "$file"
    "${command[@]}" </dev/null >>"$log" 2>&1 &
    job=$!
}

# It goes into the background and leaves its number in a file; kept in the foreground it would serve one client only.
launch_nbd_server() {
    local key=$1 sock=$2 port=$3 transport=$4 file=${file_of[$1]} conf=${file_of[$1]}.conf
    [ -e "$file" ] || make_file "$file"
    uri_of[$key]="nbd://127.0.0.1:$port/bench"
    [ "$transport" = tcp ] || uri_of[$key]="nbd+unix:///bench?socket=$sock"
    printf '%s\n' '[generic]' 'listenaddr = 127.0.0.1' "port = $port" 'max_threads = 16' >"$conf"
    [ "$transport" = tcp ] || printf '%s\n' "unixsock = $sock" >>"$conf"
    printf '%s\n' '[bench]' "exportname = $file" 'flush = true' >>"$conf"
    rm -f "$file.pid"
    "$(find_nbd_server)" -C "$conf" -p "$file.pid" >>"$log" 2>&1 || true
    job=$(cat "$file.pid" 2>/dev/null || echo 0)
}

# nbdswapd with its own engine and one export.
launch_engine() {
    local key=$1 base=$2 sock=$3 port=$4 transport=$5 conf=${file_of[$1]}.conf
    engine_uris "$key" "$sock" "$port" "$transport"
    {
        printf '[server]\n'
        if [ "$transport" = unix ]; then echo "listen = unix:$sock"; else echo "listen = 127.0.0.1:$port"; fi
        printf '%s\n' "control = ${file_of[$key]}.control" 'engine = native' "native = $builddir/server/nbdswap-engine" \
            "allow = ${allow//,/ }" '[export bench]' "file = ${file_of[$key]}" "size = $size"
        case $base in
        engine-plain) echo 'check = none' ;;
        engine-host) echo 'survive = host' ;;
        engine-sealed) printf '%s\n' 'seal = aes-256-gcm' 'key = ephemeral' ;;
        esac
    } >"$conf"
    "$builddir/server/nbdswapd" --no-keeper --config "$conf" </dev/null >>"$log" 2>&1 &
    job=$!
}
engine_uris() {
    uri_of[$1]="nbd://127.0.0.1:$3/bench"
    [ "$4" = tcp ] || uri_of[$1]="nbd+unix:///bench?socket=$2"
}

# serving_pid KEY BASE JOB: the process that serves.
serving_pid() {
    case $2 in
    engine-*)
        timeout 60 "$builddir/server/nbdswapctl" status --json --socket "${file_of[$1]}.control" |
            jq -e 'select(.worker.state == "ready") | .worker.pid'
        ;;
    *) echo "$3" ;;
    esac
}

# start_server NAME TRANSPORT: 0 when it serves; else 1, its last words are in $log.
start_server() {
    local name=$1 transport=$2 port try n
    for ((try = 0; try < 10; try++)); do
        # Below what the kernel gives to clients; one that is taken ends the server at once, and one that another server answers on is
        # seen by prove_listener.
        port=$((20000 + RANDOM % 10000))
        launch "$name" "$transport" "$port"
        [ "$job" != 0 ] || continue
        for ((n = 0; n < 1200; n++)); do
            kill -0 "$job" 2>/dev/null || break
            if nbdinfo --size "${uri_of[$name/$transport]}" >/dev/null 2>&1; then
                job_of[$name/$transport]=$job
                cleanup_fn end_process "$job"
                pid_of[$name/$transport]=$(serving_pid "$name/$transport" "${name%@*}" "$job") || return 1
                return 0
            fi
            sleep 0.05
        done
        end_process "$job"
        [ "$transport" = tcp ] || return 1
    done
    return 1
}
