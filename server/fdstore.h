/* SPDX-License-Identifier: BSD-3-Clause */
/* The descriptor store of whoever started this daemon (the service manager's, or the keeper's: one protocol, sd_notify(3)), and what it had
 * from the daemon before.  On the loop's thread.
 */
#ifndef NBDSWAP_FDSTORE_H
#define NBDSWAP_FDSTORE_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stddef.h>

#define FDSTORE_NAME 24 /* bytes of a name, with its NUL */

/* Is there anybody who could keep descriptors? */
bool fdstore_there(void);

/* Gives fd (borrowed) into its keeping under this name, until it is removed: nothing that happens to the descriptor's other ends removes it.  Of
 * what has the open file description in its keeping already it takes no notice.  0; -1 with *e when it cannot be told.
 */
int fdstore_put(int fd, const char *name, struct errbuf *e);
void fdstore_remove(const char *name);

struct inherited {
	size_t count;
	struct {
		int fd; /* -1: taken */
		char name[FDSTORE_NAME];
	} *item;
};

/* What was in the store when this process was started; close-on-exec.  To be called once.  Names that are none of ours come as "". */
void fdstore_inherit(struct inherited *in);

/* Takes the descriptor of this name out, the caller's from then on; -1: there is none. */
int fdstore_take(struct inherited *in, const char *name);

/* Closes what nobody took and has it removed from the store. */
void fdstore_drop(struct inherited *in);

#endif
