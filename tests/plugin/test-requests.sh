# SPDX-License-Identifier: BSD-3-Clause
# Requests one by one: whole pages only, zeros before the first write, what one connection wrote another reads.
. "${srcdir:-.}/tests/plugin/plugin-functions.sh" || exit 1

start_nbdkit file="$disk/r.swap" size=128M

# A page never written reads as zeros, though the file holds other bytes.
"$nbdcmd" "$uri" read 0 32M 0
# Adjacent fresh, written and discarded pages in one read.
"$nbdcmd" "$uri" write 4k 4k 1 write 12k 8k 2 read 0 4k 0 read 4k 4k 1 read 8k 4k 0 read 12k 8k 2
"$nbdcmd" "$uri" write 0 1M 7 trim 64k 64k read 64k 64k 0 read 0 64k 7 read 128k 896k 7
"$nbdcmd" "$uri" zero 0 4k read 0 4k 0 writefua 0 4k 9 read 0 4k 9
# A write over discarded pages counts again.
"$nbdcmd" "$uri" trim 0 128M read 0 8M 0 write 64k 4k 3 read 64k 4k 3 read 60k 4k 0 read 68k 4k 0

# Anything but whole pages within the export is EINVAL, and changes nothing.
"$nbdcmd" "$uri" write 0 8k 1 \
    expect EINVAL write 512 4k 2 expect EINVAL write 0 512 2 expect EINVAL write 4095 1 2 \
    expect EINVAL read 1 4k 0 expect EINVAL read 0 4095 0 expect EINVAL trim 512 4k expect EINVAL trim 0 1 \
    expect EINVAL zero 2k 4k expect EINVAL zero 0 6k read 0 8k 1
"$nbdcmd" "$uri" expect EINVAL read 128M 4k 0 expect EINVAL read 131068k 8k 0 expect EINVAL trim 128M 4k
# Beyond the end nbdkit answers itself, as the protocol has it.
"$nbdcmd" "$uri" expect ENOSPC write 128M 4k 1 expect ENOSPC zero 1G 4k

# Multi-conn: one connection's acknowledged write, and its discard, are seen by all.
"$nbdcmd" "$uri" connect 1 connect 2 connect 0 write 1M 128k 0x11 flush connect 1 read 1M 128k 0x11 connect 2 \
    write 1M 4k 0x22 connect 0 read 1M 4k 0x22 connect 1 trim 1M 128k connect 0 read 1M 128k 0 flush

# Many at once, with the content of every page known.
timeout 120 "$nbdload" "$uri" 4 16 20000
timeout 120 "$nbdload" "$uri" 1 32 5000
