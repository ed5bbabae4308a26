/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs the keeper (server/keeper.h) around any program, with pauses fit for tests.
 * Usage: keeper-run SOON-MS PAUSE-MS PAUSE-MAX-MS PROGRAM ARG...
 */
#include "config.h"

#include "common/allow.h"
#include "server/keeper.h"

#include <stdlib.h>

int main(int argc, char **argv)
{
	struct keeper_plan plan;

	if (argc < 5)
		return 2;
	plan = (struct keeper_plan){
		.program = argv[4],
		.argv = argv + 4,
		.allow = ALLOW_MEMLOCK | ALLOW_OOM | ALLOW_IO_FLUSHER,
		.soon_ms = (unsigned)atoi(argv[1]),
		.pause_ms = (unsigned)atoi(argv[2]),
		.pause_max_ms = (unsigned)atoi(argv[3]),
	};
	return keeper_run(&plan);
}
