# SPDX-License-Identifier: BSD-3-Clause
# Holds libcommon too: who links libstore.la links that alone.
noinst_LTLIBRARIES += libstore.la
libstore_la_SOURCES = \
	store/allocate.c store/allocate.h \
	store/backend.c store/backend.h \
	store/backing.c store/backing.h store/backing_priv.h \
	store/backing_check.c store/backing_use.c \
	store/check_place.c store/check_space.c store/checks.h \
	store/entry.h \
	store/fullio.c store/fullio.h \
	store/lock.c store/lock.h \
	store/lockedmem.c store/lockedmem.h \
	store/mark.c store/mark.h \
	store/open.c store/open.h \
	store/page.h \
	store/pool.c store/pool.h \
	store/provision.c \
	store/report.c store/report.h \
	store/rw.c store/rw_blocking.c store/rw_pages.c store/rw_queue.c \
	store/settle.c store/settle.h \
	store/slots.h \
	store/store.c store/store.h store/store_priv.h \
	store/table.c store/table.h \
	store/trailer.c store/trailer.h
libstore_la_CFLAGS = $(AM_CFLAGS) $(XXHASH_CFLAGS) $(UUID_CFLAGS)
libstore_la_LIBADD = libcommon.la $(XXHASH_LIBS) $(UUID_LIBS) -lpthread
