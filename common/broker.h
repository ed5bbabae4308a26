/* SPDX-License-Identifier: BSD-3-Clause */
/* The broker protocol: how a worker gets its exports from the daemon.
 *
 * The worker inherits one end of a SOCK_SEQPACKET socket pair (the plugin's parameter broker=FD).  Every packet is one JSON
 * object of at most FDMSG_MAX bytes (common/fdmsg.h).  The daemon alone opens, locks and checks files; the worker gets
 * descriptors.
 *
 * Requests of the worker carry an id (an integer of its choice); the answer has the same id and "ok".  Answers may come in
 * another order than the requests, and commands of the daemon between them.
 *
 *   {"id":N,"op":"open","export":"NAME?client=ID","peer":"ADDR:PORT","tls":false}
 *     -> {"id":N,"ok":true,"session":S,"name":"NAME","size":BYTES,"backend":"ext4","path":"..."}
 *        with two descriptors: the backing file (O_RDWR|O_DIRECT, its lock held by this open description) and the page table;
 *        and where pages are sealed (the table says so) a third: the key of this activation (store/sealkey.h), read-only
 *     -> {"id":N,"ok":false,"error":"one sentence for the log"}
 *        "peer" is "[ADDR]:PORT" for IPv6 and "unix" for a Unix socket.
 *        Two opens of one export give descriptors of the same file description and the same table: a worker keeps one store per
 *        export and closes the second pair, until it is told to forget the export.
 *   {"id":N,"op":"close","session":S} -> {"id":N,"ok":true}
 *        sent when no request of the session is in flight any more
 *   {"id":N,"op":"reopen","export":"NAME"}   the handle of its file is stale (ESTALE)
 *     -> {"id":N,"ok":true} with one descriptor: a new description of the same file, its lock held
 *     -> {"id":N,"ok":false,"again":BOOL,"error":"..."}   again: not now, ask once more in a second; else the file is lost
 *   {"id":N,"op":"list"} -> {"id":N,"ok":true,"exports":[{"name":"...","description":"..."}]}
 *        ("truncated":true when they do not fit one packet)
 *
 * Events of the worker, not answered:
 *   {"event":"ready","pid":P,"locked_kib":K,"warnings":["...", ...]}   once, when it can serve
 *   {"event":"drained","ok":true}            answer to drain; false: the time ran out with requests in flight
 *   {"event":"forgotten","export":"NAME"}    answer to forget
 *   {"event":"log","priority":"err|warning|info","text":"..."}
 *
 * Commands of the daemon:
 *   {"cmd":"drain","timeout_ms":N}   lets no new request begin, waits for those in flight, answers drained.  The daemon then ends the
 *                                    worker by SIGKILL: clients see a cut connection, which they can ride through, not errors
 *   {"cmd":"forget","export":"NAME"} closes file and table of an export that has no session, then answers forgotten (also when
 *                                    the worker did not know it).  The daemon does not grant an open of it in between.
 *
 * When the worker's end sees the end of the stream, the daemon is gone: the worker goes on serving the sessions that it has
 * and refuses new ones.
 */
#ifndef NBDSWAP_BROKER_H
#define NBDSWAP_BROKER_H

#include "common/fdmsg.h"

#define BROKER_TEXT_MAX 2048 /* bytes of a text inside a message: an error, a log line */

#endif
