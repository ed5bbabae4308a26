# SPDX-License-Identifier: BSD-3-Clause
# The measurements of a run ($runs) to medians, ratios and targets.
def median: sort | length as $n | if $n == 0 then null elif $n % 2 == 1 then .[$n / 2 | floor] else (.[$n / 2 - 1] + .[$n / 2]) / 2 end;
def round3: if . == null then null else . * 1000 | round / 1000 end;
def spread: {median: (median | round3), min: (min | round3), max: (max | round3)};

# All runs of one server under one load and transport, in the order of rounds.
def cell($l; $t; $s): [$runs[] | select(.load == $l and .transport == $t and .server == $s)] | sort_by(.round);
# Ratios of two such, each of figures from the same round.
def ratio($a; $b): [range([$a, $b] | map(length) | min) | $a[.].iops / $b[.].iops];

$about[0] as $about
| $about.settings.ticks_per_second as $tick
| [$runs[].load] as $names
| ($names | reduce .[] as $n ([]; if index($n) then . else . + [$n] end)) as $loads
| ([$runs[] | .transport | select(. != "file")] | unique) as $transports
| [ $loads[] as $l | ($transports + ["file"])[] as $t | $order[] as $s
    | cell($l; $t; $s) | select(length > 0)
    | {load: $l, transport: $t, server: $s,
       iops: ([.[].iops] | spread), mib_s: ([.[].mib_s] | spread),
       p50_us: ([.[].p50_us] | spread), p99_us: ([.[].p99_us] | spread), p999_us: ([.[].p999_us] | spread),
       # Ticks are coarse, so over all rounds together.
       cpu_us_per_op: (if $s == "storage" then null else ([.[].cpu_ticks] | add) * 1000000 / $tick / ([.[].ops] | add) | round3 end),
       device_bytes_per_byte: (([.[].device_bytes] | add) as $d | ([.[].bytes] | add) as $b | if $s == "storage" or $d < 0 then null else $d / $b | round3 end),
       runs: [.[].iops | round3]} ] as $rows
| def row($l; $t; $s): $rows[] | select(.load == $l and .transport == $t and .server == $s);
  # The one of these servers with the highest median.
  def best($l; $t; $of): [$of[] as $s | row($l; $t; $s)] | max_by(.iops.median) | .server? // null;
  def target($what; $wanted; $l; $of; $peers):
    $transports[] as $t
    | best($l; $t; $peers) as $peer
    | select($peer) | cell($l; $t; $of) as $a | select($a | length > 0)
    | (ratio($a; cell($l; $t; $peer)) | spread) as $r
    | {target: $what, load: $l, transport: $t, of: $of, to: $peer, ratio: $r, $wanted, met: ($r.median >= $wanted)};
  # The storage is measured without a transport.
  def to_storage($what; $wanted; $l; $of):
    $transports[] as $t
    | cell($l; $t; $of) as $a | cell($l; "file"; "storage") as $b | select(($a | length > 0) and ($b | length > 0))
    | (ratio($a; $b) | spread) as $r
    | {target: $what, load: $l, transport: $t, of: $of, to: "storage", ratio: $r, $wanted, met: ($r.median >= $wanted)};
  ["qemu-native", "qemu-uring"] as $direct
| "engine-checked" as $engine
| ["randwrite-4k-d32", "randwrite-4k-4x16"] as $deep_writes
| ["randread-4k-d32", "randread-4k-4x16"] as $deep_reads
| [ ($deep_writes[] as $l | target("engine, depth: beside the best peer with direct I/O"; 2; $l; $engine; $direct)),
    ($deep_writes[] as $l | to_storage("engine, depth: beside the bare storage"; 0.75; $l; $engine)),
    ($deep_reads[] as $l | target("engine, depth: beside the best peer with direct I/O"; 1.5; $l; $engine; $direct)),
    (["randwrite-4k-d1", "randread-4k-d1"][] as $l | target("engine, depth 1: beside the best peer with direct I/O"; 1.3; $l; $engine; $direct)),
    target("engine, large: beside the best peer with direct I/O"; 2; "write-128k-d8"; $engine; $direct),
    (["randwrite-4k-d32", "randread-4k-d32"][] as $l | target("engine: what the check costs"; 0.97; $l; $engine; ["engine-plain"])),
    (["randwrite-4k-d32", "randread-4k-d32"][] as $l | target("engine: what the seal costs"; 0.85; $l; "engine-sealed"; ["engine-plain"])),
    (["randwrite-4k-d1", "randread-4k-d1"][] as $l | target("depth 1: beside the best peer with direct I/O"; 1.2; $l; ("checked", "sealed"); $direct)),
    (["randwrite-4k-d32", "randread-4k-d32"][] as $l | target("depth 32: beside the best peer with direct I/O"; 1; $l; ("checked", "sealed"); $direct)),
    (["randwrite-4k-d32", "randread-4k-d32"][] as $l | target("what the check costs"; 0.97; $l; "checked"; ["plain"])),
    (["randwrite-4k-d32", "randread-4k-d32"][] as $l | target("what the seal costs"; 0.85; $l; "sealed"; ["plain"])),
    ($loads[] | select(test("^(zero|same|discarded)-")) as $l | target("pages without I/O beside null"; 0.9; $l; ($engine, "engine-sealed", "checked", "sealed"); ["null"])) ] as $targets
| [ $memory[] | .server as $s
    | select(.client_kib)
    | {target: "engine, locked when idle beside pool and tables, KiB", server: $s, is: .idle_kib, at_most: 16384},
      {target: "engine, locked more for each idle client, KiB", server: $s, is: .client_kib, at_most: 256}
    | .met = (.is <= .at_most) ] as $engine_locked
| [ $memory[] | .server as $s
    | select(.gib_kib)
    | {target: "locked when idle, KiB", server: $s, is: .idle_kib, at_most: 32768},
      {target: "locked more for each connection, KiB", server: $s, is: .connection_kib, at_most: 4096},
      {target: "locked more for each GiB, KiB", server: $s, is: .gib_kib, at_most: (if $s == "sealed" then 8192 else 4096 end)}
    # A few pages elsewhere may differ.
    | .met = (.is <= .at_most + 64) ] as $locked
| $about + {skipped: $skipped, servers: $order, results: $rows, targets: $targets, locked: ($engine_locked + $locked)}
