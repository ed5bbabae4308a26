# SPDX-License-Identifier: BSD-3-Clause
noinst_LTLIBRARIES += libengine.la
libengine_la_SOURCES = \
	server/engine/negotiate.c server/engine/negotiate.h \
	server/engine/tcpaccount.c server/engine/tcpaccount.h
libengine_la_LIBADD = libcommon.la
