/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel's SMB client says of the files that it has open: /proc/fs/cifs/open_files.  Each has a count of references, of which every
 * opened description holds one, and every read and write that has not ended one more or two, also while it waits to be sent again to a
 * server that was away.
 */
#ifndef NBDSWAP_CIFSFILES_H
#define NBDSWAP_CIFSFILES_H

#include <stdio.h>

/* Is I/O under way on a file of this name (the last part of its path) that is open once?  Another file of the same name counts too, and what was
 * opened twice in the same way is taken for busy.  1 yes; 0 no; -1 when the list is not understood, or has no such file.
 */
int cifsfiles_busy(FILE *list, const char *name);

#endif
