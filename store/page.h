/* SPDX-License-Identifier: BSD-3-Clause */
/* The unit of everything: block size, page table entry, check, trailer. */
#ifndef NBDSWAP_PAGE_H
#define NBDSWAP_PAGE_H

#define PAGE_SHIFT_ 12
#define PAGE_BYTES 4096u

#endif
