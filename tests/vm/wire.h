/* SPDX-License-Identifier: BSD-3-Clause */
/* What vmctl (host) and agent (guest) say to each other over a virtio-serial port.
 *
 * Every message is a header and, for some types, bytes. Either side may vanish in the middle of one (a time
 * limit ends vmctl, a power cut ends the guest), and a port keeps no record of who was connected before. So a
 * reader looks for the magic, and the host ignores what does not carry the number of its own request.
 */
#ifndef NBDSWAP_VM_WIRE_H
#define NBDSWAP_VM_WIRE_H

#include <stdint.h>

#define WIRE_MAGIC UINT64_C(0xf5a7776d636e6263)
#define WIRE_MAX (1u << 20) /* bytes of a command, and of its standard input */
#define WIRE_CHUNK 16384u   /* most bytes of output in one message */

enum wire_type {
	/* host to guest */
	WIRE_RUN = 1,	   /* len bytes of command for the shell, then extra bytes of standard input */
	WIRE_SIGNAL = 2,   /* extra is the signal for the command's process group */
	WIRE_POWEROFF = 3, /* sync and switch the machine off; no answer */
	/* guest to host */
	WIRE_OUT = 16,	/* len bytes of standard output */
	WIRE_ERR = 17,	/* len bytes of standard error */
	WIRE_EXIT = 18, /* extra is the exit code, 128 + signal when one ended the command */
};

struct wire_header {
	uint64_t magic;
	uint32_t id; /* of the request, chosen by the host */
	uint32_t type;
	uint32_t len;
	uint32_t extra;
};

#endif
