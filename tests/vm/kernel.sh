#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# kernel.sh: prints the directory that holds Debian's stock kernel (vmlinux, lib/modules), fetching it by apt-get
# into the cache (NBDSWAP_VM_CACHE, /var/cache/nbdswap-vm) when it is not there. Exit code 77 with the reason on
# standard error when it cannot be had.
set -euo pipefail
cache=${NBDSWAP_VM_CACHE:-/var/cache/nbdswap-vm}

unavailable() {
    echo "no kernel for guests: $*" >&2
    exit 77
}

mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || unavailable "cannot write to $cache (see NBDSWAP_VM_CACHE)"
for program in apt-get dpkg xz modprobe depmod cpio busybox; do
    command -v "$program" >/dev/null || unavailable "$program is not installed"
done
exec 9>"$cache/lock"
flock -w 600 9 || unavailable "another test has been fetching it for ten minutes"

# What is there is good enough: a test never waits for the net when it need not.
for dir in "$cache"/linux-image-*; do
    [ -f "$dir/vmlinux" ] || continue
    echo "$dir"
    exit 0
done

find_package() {
    apt-cache depends linux-image-amd64 2>/dev/null | awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }'
}
package=$(find_package)
if [ -z "$package" ]; then
    timeout 300 apt-get -q update >&2 || unavailable "apt-get update failed"
    package=$(find_package)
fi
[ -n "$package" ] || unavailable "apt knows no linux-image-amd64 (the tests use Debian's kernel)"

work=$(mktemp -d "$cache/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
timeout 600 apt-get -q download "$package" >&2 ||
    { timeout 300 apt-get -q update >&2 && timeout 600 apt-get -q download "$package" >&2; } ||
    unavailable "apt-get download $package failed"
dpkg -x ./*.deb x
mkdir -p k/lib
mv x/lib/modules k/lib/
depmod -b "$work/k" "$(basename k/lib/modules/*)"
# The kernel inside bzImage, unpacked once here: an emulated processor needs seconds for it at each boot.
image=$(echo x/boot/vmlinuz-*)
offset=$(LC_ALL=C grep -obUaP '\xfd7zXZ\x00' "$image" | head -n 1 | cut -d: -f1)
[ -n "$offset" ] || unavailable "$package is not packed by xz"
tail -c "+$((offset + 1))" "$image" | xz -dcq >k/vmlinux 2>/dev/null || true # what follows the kernel is not xz
LC_ALL=C grep -qa 'Linux version' k/vmlinux || unavailable "$package cannot be unpacked"
mv k "$cache/$package"
echo "$cache/$package"
