/* SPDX-License-Identifier: BSD-3-Clause */
/* nbdswapd inside a fuzz target: the real daemon with its control socket, exports, sessions and worker, on small files on tmpfs.  What it
 * would start is under the target's control: the worker is the other end of its broker socket, and a job is run when the target says so,
 * on its thread.  So an input is always worked off in the same way.
 */
#ifndef NBDSWAP_TESTS_FAKEDAEMON_H
#define NBDSWAP_TESTS_FAKEDAEMON_H

#include <stdbool.h>
#include <stddef.h>

/* A new daemon with three exports: "a" with a file that is in order, "b" whose file is to be created, "m" that has none. */
void fake_begin(void);

/* Ends it in the way it would take and checks that it does; frees everything. */
void fake_end(void);

bool fake_ended(void); /* it has, because it was asked to: nothing more is served */

/* Lets it do what it can do without jobs, and checks what it answers on all its sockets. */
void fake_run(void);

/* To the control socket: bytes from a client (0 to 2), which is connected first if it is not, and its end. */
void fake_control_send(unsigned client, const void *bytes, size_t n);
void fake_control_close(unsigned client);

/* The worker: a packet with nfds descriptors, its end, its timer, whether the next one can be started. */
void fake_worker_send(const void *bytes, size_t n, size_t nfds);
void fake_worker_exit(int status);
void fake_worker_timer(void);
void fake_spawn_fails(bool fails);

/* Helper threads: the first job that has not been run is run; the first that was is completed.  false: there is none. */
bool fake_job_run(void);
bool fake_job_done(void);

/* The tick of a second, with the patience for a worker that does not forget at its end; the minute's look at the files. */
void fake_tick(bool late);
void fake_recheck(void);

/* Puts one of FAKE_CONFIGS configurations there for the next reload; SIGHUP; SIGTERM. */
#define FAKE_CONFIGS 9
void fake_config(unsigned which);
void fake_hup(void);
void fake_term(void);

#endif
