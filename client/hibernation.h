/* SPDX-License-Identifier: BSD-3-Clause */
/* Would this machine write its memory to a swap over the network when it hibernates?  That swap is not there when it starts again. */
#ifndef NBDSWAP_CLIENT_HIBERNATION_H
#define NBDSWAP_CLIENT_HIBERNATION_H

enum hibernation {
	HIBERNATION_OFF,       /* this kernel does not hibernate (nohibernate, locked down, not built in) */
	HIBERNATION_FORBIDDEN, /* systemd is told not to (sleep.conf) */
	HIBERNATION_ELSEWHERE, /* the kernel has another device for it (resume=) */
	HIBERNATION_HERE,      /* it may pick this one */
};

/* root: "" or, for tests, a directory in the place of /. */
enum hibernation hibernation_look(const char *root);

#endif
