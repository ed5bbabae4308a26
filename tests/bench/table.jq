# SPDX-License-Identifier: BSD-3-Clause
# bench.json to text.
def median: sort | length as $n | if $n % 2 == 1 then .[$n / 2 | floor] else (.[$n / 2 - 1] + .[$n / 2]) / 2 end;
def pad($n): tostring | . + (" " * ([$n - length, 0] | max));
def lpad($n): tostring | (" " * ([$n - length, 0] | max)) + .;
def fixed($digits):
  if . == null then "-"
  else (. * pow(10; $digits) | round | tostring) as $d
  | if $digits == 0 then $d
    else ("0" * ([$digits + 1 - ($d | length), 0] | max)) + $d | .[:-$digits] + "." + .[-$digits:]
    end
  end;
def si: if . >= 100000 then (. / 1000 | fixed(0)) + "k" elif . >= 1000 then (. / 1000 | fixed(1)) + "k" else fixed(0) end;

. as $all
| ([("engine-checked", "checked") as $s | select(any($all.results[]; .server == $s)) | $s] + [.servers[0]] | .[0]) as $base
| "\(.machine.cpus) x \(.machine.cpu), \(.machine.ram_mib) MiB, Linux \(.machine.kernel), \(.machine.file_system); load \(.machine.load_before) before, \(.machine.load_after) after",
  "nbdkit \(.versions.nbdkit) (-t \(.settings.threads)), qemu-nbd \(.versions.qemu_nbd), nbd-server \(.versions.nbd_server), \(.versions.fio); \(.settings.rounds) rounds of \(.settings.measurement_ms) ms, exports of \(.settings.export_mib) MiB; \(.started)",
  (.skipped[] | "skipped \(.server): \(.why)"),
  "",
  "Medians, with the least and the greatest of the rounds. ratio: operations a second beside \($base), median of the rounds. CPU: of the server, by operation.",
  "Latency of reads where there are reads.",
  ((.results | group_by([.load, .transport]) | map({key: "\(.[0].load)/\(.[0].transport)", value: .}) | from_entries) as $cells
   | ([.results[] | select(.transport != "file") | "\(.load)/\(.transport)"] | reduce .[] as $k ([]; if index($k) then . else . + [$k] end))[] as $k
   # The storage is measured once for all transports.
   | ($cells[$k] + ($cells[($k | sub("/.*"; "")) + "/file"] // [])) as $rows
   | ([$rows[] | select(.server == $base)][0]) as $b
   | "",
     (($k | pad(32)) + ("ops/s" | lpad(8)) + ("least" | lpad(8)) + ("most" | lpad(8)) + ("MiB/s" | lpad(7)) + ("ratio" | lpad(7))
      + ("p50 us" | lpad(8)) + ("p99 us" | lpad(8)) + ("p99.9 us" | lpad(9)) + ("CPU us" | lpad(8))),
     ($all.servers[] as $s | $rows[] | select(.server == $s)
      | ("  " + .server | pad(32)) + (.iops.median | si | lpad(8)) + (.iops.min | si | lpad(8)) + (.iops.max | si | lpad(8))
        + (.mib_s.median | fixed(0) | lpad(7))
        + (if $b then [range([.runs, $b.runs] | map(length) | min) as $i | .runs[$i] / $b.runs[$i]] | median | fixed(2) else "-" end | lpad(7))
        + (.p50_us.median | fixed(0) | lpad(8)) + (.p99_us.median | fixed(0) | lpad(8)) + (.p999_us.median | fixed(0) | lpad(9))
        + (.cpu_us_per_op | fixed(1) | lpad(8)))),
  (select(.targets + .locked | length > 0)
   | "",
     (("targets, as ratios of operations a second" | pad(100)) + ("is" | lpad(6)) + ("least" | lpad(7)) + ("most" | lpad(7)) + ("wanted" | lpad(8))),
     (.targets[]
      | ("  \(.target): \(.of)/\(.to), \(.load), \(.transport)" | pad(100)) + (.ratio.median | fixed(2) | lpad(6)) + (.ratio.min | fixed(2) | lpad(7))
        + (.ratio.max | fixed(2) | lpad(7)) + (.wanted | fixed(2) | lpad(8)) + (if .met then "  met" else "  NOT MET" end)),
     (.locked[]
      | ("  \(.target): \(.server)" | pad(100)) + (.is | lpad(6)) + ("" | lpad(14)) + (.at_most | lpad(8)) + (if .met then "  met" else "  NOT MET" end)))
