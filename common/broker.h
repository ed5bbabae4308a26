/* SPDX-License-Identifier: BSD-3-Clause */
/* The broker protocol: how a worker gets its exports from the daemon.
 *
 * The worker inherits one end of a SOCK_SEQPACKET socket pair (the parameter broker=FD of plugin and engine).  Every packet is one JSON
 * object of at most FDMSG_MAX bytes (common/fdmsg.h).  The daemon alone opens, locks and checks files; the worker gets
 * descriptors.
 *
 * Requests of the worker carry an id (an integer of its choice); the answer has the same id and "ok".  Answers may come in
 * another order than the requests, and commands of the daemon between them.
 *
 *   {"id":N,"op":"open","export":"NAME?client=ID","peer":"ADDR:PORT","tls":false}
 *     -> {"id":N,"ok":true,"session":S,"name":"NAME","size":BYTES,"backend":"ext4","path":"...","activation":G,"lease":L}
 *        with two descriptors: the backing file (O_RDWR|O_DIRECT, its lock held by this open description) and the page table;
 *        and where pages are sealed (the table says so) a third: the key of this activation (store/sealkey.h), read-only
 *     -> {"id":N,"ok":false,"again":BOOL,"error":"one sentence for the log"}
 *        activation and lease are the generation that the client has it under (common/generation.h).
 *        "peer" is "[ADDR]:PORT" for IPv6 and "unix" for a Unix socket.  again: it may be had in a moment.
 *        Two opens of one export give descriptors of the same file description and the same table: a worker keeps one store per
 *        export and closes the second pair, until it is told to forget the export.
 *        With "live":true and one descriptor, the client's socket, the session is one that can outlive the worker: the daemon keeps a
 *        duplicate of the socket, and the answer has in addition "reserve":R, the place of the export's own buffers in the pool
 *        (server/engine/buffers.h), and as its last descriptor the session's memory (server/engine/sessmem.h).  So: file, table, [key], memory.
 *        Not for sessions whose bytes are not the socket's own (TLS).  Over another socket than TCP a session does not outlive the worker
 *        all the same: how far it has come cannot be known.
 *        Where the name has slot=I/N, an earlier session of the same client in this slot is ended first (end, below); when that one
 *        does not end within 5 seconds the answer is no, again.
 *   {"id":N,"op":"close","session":S,"lost":BOOL} -> {"id":N,"ok":true}
 *        sent when no request of the session is in flight any more.  lost: its client did not end it (NBD_CMD_DISC), so it may come back; a worker
 *        that cannot tell leaves it out
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
 *   {"event":"resumed","session":S,"ok":BOOL,"error":"..."}   answer to resume; not ok: the worker has closed what it was sent
 *   {"event":"ended","session":S}            answer to end
 *   {"event":"log","priority":"err|warning|info","text":"..."}
 *
 * Commands of the daemon:
 *   {"cmd":"drain","timeout_ms":N}   lets no new request begin, waits for those in flight, answers drained.  The daemon then ends the
 *                                    worker by SIGKILL: clients see a cut connection, which they can ride through, not errors
 *   {"cmd":"forget","export":"NAME"} closes file and table of an export that has no session, then answers forgotten (also when
 *                                    the worker did not know it).  The daemon does not grant an open of it in between.
 *   {"cmd":"resume","session":S,"name":"NAME","size":BYTES,"backend":"ext4","path":"...","reserve":R,"peer":"ADDR:PORT","blame":BOOL,"lost":BOOL}
 *        with descriptors: socket, memory, file, table, [key]
 *                                    the session of a worker that is gone: goes on exactly where that one was, answers resumed.  Sent
 *                                    after ready, for each session as soon as its export is settled.  When it fails, or is not
 *                                    answered in time, the daemon shuts the socket down and the session is over, without a close.
 *                                    blame: the worker did not end by SIGKILL, so one of its requests may be the cause.
 *                                    lost: the export is, every request is answered with an error.
 *   {"cmd":"complete","export":"NAME"}  all sessions on this export that outlived the last worker have been handed down, or are over: what
 *                                    was in flight with that worker and is not done again now is lost.
 *   {"cmd":"end","session":S}        the session is over: no request of it may begin any more.  Answers ended once none of those that have
 *                                    not begun can reach the backend; what is at the backend keeps its pages in flight until that
 *                                    answers.  The native engine also shuts the socket down.  close follows as always.  Also answered
 *                                    for a session that has been closed; one whose open is just being answered ends before it begins.
 *
 *   {"cmd":"hello","epoch":E}        another daemon has taken the place of the last one (below)
 *
 * The daemon's end of the socket is kept for its successor, so what is sent while there is none waits.  What the dead one had read and not
 * answered is lost: on hello the worker sends all requests that wait for an answer once more, with their ids, and from then on every request
 * has "epoch":E.  The successor passes over requests without its epoch, for they come again; one that its predecessor granted already, and
 * whose answer did not go out, it answers with the same session.  Then the worker answers
 *   {"event":"here","epoch":E,"locked_kib":K,"warnings":[...],"drained":BOOL,"sessions":[S,...]}
 * drained: only after drain, and as in its answer.  sessions: those that it has; one that it is just about to close need not be among them.
 *
 * A worker that drains on the way to its replacement leaves live sessions as they are, with their replies in the session's memory.
 *
 * When the worker's end sees the end of the stream, the daemon is gone and nobody keeps its end for a successor: the worker goes on serving the sessions that it has
 * and refuses new ones.
 */
#ifndef NBDSWAP_BROKER_H
#define NBDSWAP_BROKER_H

#include "common/fdmsg.h"

#define BROKER_NO_URING 9 /* exit status of a worker that needs io_uring where there is none: another kind of worker is to be tried */

#endif
