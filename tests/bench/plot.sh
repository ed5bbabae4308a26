# SPDX-License-Identifier: BSD-3-Clause
# Figures from bench.json: operations a second with their spread, latency, CPU.
# shellcheck shell=bash disable=SC2154

colours=(1b6ca8 4aa3df 9ad0f5 b3541e e08e45 7a7a7a 3f8f4f 8fce9b d9c400 444444)

# plot_bars FILE TITLE YLABEL SCALE VALUE LEAST MOST LOAD...: one group of bars for each load, one colour for each server.  SCALE: linear or
# log; VALUE, LEAST and MOST are paths in a row of bench.json.
plot_bars() {
    local svg=$1 title=$2 ylabel=$3 scale=$4 value=$5 low=$6 high=$7 transport l s n
    shift 7
    transport=$(jq -r '[.results[].transport | select(. != "file")] | unique | if index("tcp") then "tcp" else .[0] end' "$json")
    mapfile -t plotted < <(jq -r '.servers[]' "$json")
    n=${#plotted[@]}
    # A line for each load: its name, then value, least and greatest of each server.
    for l in "$@"; do
        jq -r --arg l "$l" --arg t "$transport" "
            . as \$all | [\$l] + [\$all.servers[] as \$s
                | [\$all.results[] | select(.load == \$l and .server == \$s and (.transport == \$t or .transport == \"file\"))][0]
                | if . == null or ($value) == null then (\"-\", \"-\", \"-\") else ($value, $low, $high) end]
            | map(tostring) | select(any(.[1:][]; . != \"-\")) | join(\" \")" "$json"
    done >"$tmp/plot.dat"
    [ -s "$tmp/plot.dat" ] || return 0
    {
        echo "set terminal svg size 1100,480 dynamic enhanced font 'sans-serif,12' background '#ffffff'"
        echo "set output '$svg'"
        echo "set title '$title ($transport)' noenhanced"
        echo "set ylabel '$ylabel'"
        echo "set style data histogram"
        echo "set style histogram errorbars gap 2 lw 1"
        echo "set style fill solid 0.85 border -1"
        echo "set boxwidth 0.9"
        echo "set datafile missing '-'"
        echo "set key outside right noenhanced"
        echo "set grid ytics"
        case $scale in
        log) echo "set logscale y; set yrange [1:*]" ;;
        *) echo "set yrange [0:*]" ;;
        esac
        echo "set xtics noenhanced"
        echo -n "plot "
        for ((s = 0; s < n; s++)); do
            [ "$s" = 0 ] || echo -n ", "
            echo -n "'$tmp/plot.dat' using $((s * 3 + 2)):$((s * 3 + 3)):$((s * 3 + 4))$([ "$s" != 0 ] || echo ':xtic(1)')" \
                "title '${plotted[s]}' linecolor rgb '#${colours[s % ${#colours[@]}]}'"
        done
        echo
    } >"$tmp/plot.gp"
    gnuplot "$tmp/plot.gp" >>"$log" 2>&1 || fail "gnuplot: $(tail -n 5 "$log")"
}

plot_all() { # DIRECTORY with bench.json
    local out=$1
    json=$1/bench.json
    plot_bars "$out/bench-random.svg" "4 KiB random, operations a second: median, least and most of the rounds" "operations/s" linear \
        .iops.median .iops.min .iops.max randwrite-4k-d1 randread-4k-d1 randwrite-4k-d8 randread-4k-d8 randwrite-4k-d32 randread-4k-d32 \
        randwrite-4k-4x16 randread-4k-4x16
    plot_bars "$out/bench-large.svg" "32 and 128 KiB sequential, swap-shaped mix: median, least and most of the rounds" "MiB/s" linear \
        .mib_s.median .mib_s.min .mib_s.max write-32k-d8 read-32k-d8 write-128k-d8 read-128k-d8 swap-mix-d16
    plot_bars "$out/bench-latency.svg" "Latency: the median, and the line above it to the 99th percentile" "microseconds" log \
        .p50_us.median .p50_us.median .p99_us.median randwrite-4k-d1 randread-4k-d1 randwrite-4k-d32 randread-4k-d32 swap-mix-d16
    plot_bars "$out/bench-cpu.svg" "CPU of the server by operation" "microseconds" linear \
        .cpu_us_per_op .cpu_us_per_op .cpu_us_per_op randwrite-4k-d1 randread-4k-d1 randwrite-4k-d32 randread-4k-d32 swap-mix-d16
}
