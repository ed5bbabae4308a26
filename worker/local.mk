# SPDX-License-Identifier: BSD-3-Clause
# What every kind of worker has: exports got from a broker, and a thread for what blocks.
noinst_LTLIBRARIES += libworker.la
libworker_la_SOURCES = \
	worker/attendant.c worker/attendant.h \
	worker/broker.h \
	worker/broker_remote.c worker/broker_remote.h \
	worker/closer.c worker/closer.h \
	worker/describe.c worker/describe.h \
	worker/exports.c worker/exports.h \
	worker/memory.c worker/memory.h \
	worker/peer.c worker/peer.h
libworker_la_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
libworker_la_LIBADD = $(JANSSON_LIBS) -lpthread
