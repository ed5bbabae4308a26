# SPDX-License-Identifier: BSD-3-Clause
# Holds libcommon too: who links libstore.la links that alone.
noinst_LTLIBRARIES += libstore.la
libstore_la_SOURCES = \
	store/adopt.c store/adopt.h \
	store/allocate.c store/allocate.h \
	store/backend.c store/backend.h \
	store/barrier.c store/barrier.h \
	store/backing.c store/backing.h store/backing_priv.h \
	store/backing_check.c store/backing_host.c store/backing_seal.c store/backing_use.c \
	store/cifsfiles.c store/cifsfiles.h \
	store/check_place.c store/check_space.c store/checks.h \
	store/entry.h \
	store/errclass.c store/errclass.h \
	store/foreign.c \
	store/fullio.c store/fullio.h \
	store/lock.c store/lock.h \
	store/lostlist.c store/lostlist.h \
	store/lockedmem.c store/lockedmem.h \
	store/mark.c store/mark.h \
	store/notices.c store/notices.h \
	store/open.c store/open.h \
	store/page.h \
	store/pool.c store/pool.h \
	store/provision.c \
	store/recordblock.h \
	store/records.c store/records.h \
	store/reopen.c store/reopen.h \
	store/report.c store/report.h \
	store/retry.c store/retry.h \
	store/rw.c store/rw_blocking.c store/rw_error.c store/rw_keep.c store/rw_pages.c store/rw_queue.c \
	store/seal.c store/seal.h \
	store/sealkey.c store/sealkey.h \
	store/scrub.c store/scrub.h \
	store/settle.c store/settle.h \
	store/slots.h \
	store/store.c store/store.h store/store_priv.h \
	store/sys.h store/syspoint.h \
	store/table.c store/table.h \
	store/trailer.c store/trailer.h
libstore_la_CFLAGS = $(AM_CFLAGS) $(XXHASH_CFLAGS) $(CRYPTO_CFLAGS) $(UUID_CFLAGS)
libstore_la_LIBADD = libcommon.la $(XXHASH_LIBS) $(CRYPTO_LIBS) $(UUID_LIBS) -lpthread

# The same store for tests, with a fault at every call it makes of the system (store/fault.h).  Never installed.
check_LTLIBRARIES += libstore-fault.la
libstore_fault_la_SOURCES = $(libstore_la_SOURCES) \
	store/fault.c store/fault.h \
	store/faultio.c \
	store/faultrules.c store/faultrules.h
libstore_fault_la_CPPFLAGS = $(AM_CPPFLAGS) -DNBDSWAP_FAULTS
libstore_fault_la_CFLAGS = $(libstore_la_CFLAGS)
libstore_fault_la_LIBADD = $(libstore_la_LIBADD)
