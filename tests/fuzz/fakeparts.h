/* SPDX-License-Identifier: BSD-3-Clause */
/* What stands in the place of job.c, spawn.c, memlock.c and procself.c in the fake daemon: jobs that wait until they are run by the target,
 * a worker that is the other end of its socket, and nothing that would be asked of the machine.
 */
#ifndef NBDSWAP_TESTS_FAKEPARTS_H
#define NBDSWAP_TESTS_FAKEPARTS_H

#include <stdbool.h>

#define FAKE_WORKER_PID 0x7ffffff0 /* no process can have it */
extern int fake_worker_end;	   /* of its broker socket; -1: there is no worker */
extern bool fake_spawn_refused;	   /* the next worker cannot be started */

void fake_jobs_drop(bool (*is_job_own)(const void *arg)); /* the process is at its end; an argument that is the job's own is freed */

/* fakefiles.c: puts the exports' files below fuzz_dir() as they are to be at the beginning. */
void fake_files(void);

#endif
