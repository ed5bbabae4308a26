#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# mkinitramfs.sh KERNEL-DIR AGENT INIT OUT: busybox, the agent and the modules that reach the host's root.
# It is not compressed: an emulated processor would spend seconds on unpacking it.
set -euo pipefail
kernel=$1 agent=$2 init=$3 out=$4
modules="virtio_pci virtio_console virtio_blk virtio_net 9pnet_virtio 9p overlay"

dir=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$dir"' EXIT
release=$(basename "$kernel"/lib/modules/*)
mkdir -p "$dir/bin" "$dir/modules"
cp "$(command -v busybox)" "$dir/bin/busybox"
install -m 755 "$agent" "$dir/agent"
install -m 755 "$init" "$dir/init"
for module in $modules; do
    modprobe -d "$kernel" -S "$release" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
    cp "$file" "$dir/modules/"
    basename "$file" >>"$dir/modules/order"
done
(cd "$dir" && find . -print0 | cpio --quiet -0 -o -H newc) >"$out"
