/* SPDX-License-Identifier: BSD-3-Clause */
/* Exit codes are an interface: scripts and units rely on them, the man pages list them. */
#ifndef NBDSWAP_EXITCODES_H
#define NBDSWAP_EXITCODES_H

enum exit_code {
	EX_OK_ = 0,
	EX_FAIL = 1,	   /* it was tried and failed; the message says why */
	EX_USAGE_ = 2,	   /* wrong options or arguments */
	EX_CONFIG_ = 3,	   /* the configuration is wrong */
	EX_REFUSED = 4,	   /* a check refused: nothing was changed */
	EX_UNREACHABLE = 5, /* the server or the daemon could not be reached */
	EX_BUSY = 6,	   /* in use by somebody else */
	EX_PARTIAL = 7,	   /* of several, some failed (attach --all, detach --all, pages in a scrub) */
	EX_PRIV = 8,	   /* rights are missing (root, a capability, locking memory) */
	EX_LOST = 9,	   /* pages would be lost, and nobody has said that they may be */
};

#endif
