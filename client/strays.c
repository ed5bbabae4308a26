/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/strays.h"

#include <stdbool.h>
#include <unistd.h>

void strays_close(const int known[], size_t count)
{
	for (int fd = STDERR_FILENO + 1; fd < STRAYS_END; fd++) {
		bool is_known = false;

		for (size_t i = 0; i < count; i++)
			is_known |= known[i] == fd;
		if (!is_known)
			close(fd);
	}
}
