# SPDX-License-Identifier: BSD-3-Clause
noinst_LTLIBRARIES += libengine.la
libengine_la_SOURCES = \
	server/engine/buffers.c server/engine/buffers.h \
	server/engine/live.c \
	server/engine/lobby.h \
	server/engine/mover.c server/engine/mover.h server/engine/mover_priv.h \
	server/engine/resume.c \
	server/engine/ring.c server/engine/ring.h \
	server/engine/sessmem.c server/engine/sessmem.h \
	server/engine/submitter.c server/engine/submitter.h \
	server/engine/task.c \
	server/engine/confine_ring.c server/engine/confine_ring.h \
	server/engine/tcpaccount.c server/engine/tcpaccount.h
libengine_la_CFLAGS = $(AM_CFLAGS) $(URING_CFLAGS) $(SECCOMP_CFLAGS)
libengine_la_LIBADD = libcommon.la $(URING_LIBS) $(SECCOMP_LIBS)
