# SPDX-License-Identifier: BSD-3-Clause
noinst_LTLIBRARIES += libcommon.la
libcommon_la_SOURCES = \
	common/allow.c common/allow.h \
	common/broker.h \
	common/cleanup.h \
	common/errbuf.c common/errbuf.h \
	common/exitcodes.h \
	common/exportname.c common/exportname.h \
	common/fdmsg.c common/fdmsg.h \
	common/generation.c common/generation.h \
	common/lease.c common/lease.h \
	common/memlock.c common/memlock.h \
	common/nbdproto.h \
	common/noswap.c common/noswap.h \
	common/options.c common/options.h \
	common/printable.c common/printable.h \
	common/procself.c common/procself.h \
	common/progress.c common/progress.h \
	common/signature.c common/signature.h \
	common/size.c common/size.h \
	common/utf8.c common/utf8.h
libcommon_la_CPPFLAGS = $(AM_CPPFLAGS)
libcommon_la_CFLAGS = $(AM_CFLAGS) $(BLKID_CFLAGS)
libcommon_la_LIBADD = $(BLKID_LIBS)
