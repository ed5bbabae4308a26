# SPDX-License-Identifier: BSD-3-Clause
noinst_LTLIBRARIES += libengine.la
libengine_la_SOURCES = \
	server/engine/confine.c server/engine/confine.h server/engine/confine_calls.c \
	server/engine/confine_ring.c server/engine/confine_ring.h \
	server/engine/tcpaccount.c server/engine/tcpaccount.h
libengine_la_CFLAGS = $(AM_CFLAGS) $(URING_CFLAGS) $(SECCOMP_CFLAGS)
libengine_la_LIBADD = libcommon.la $(URING_LIBS) $(SECCOMP_LIBS)
