/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands of nbdswap.  Each takes its own name as argv[0] and its options and operands behind it, prints
 * what there is to say and returns the exit code.
 */
#ifndef NBDSWAP_CLIENT_COMMAND_H
#define NBDSWAP_CLIENT_COMMAND_H

int attach_main(int argc, char **argv);
int detach_main(int argc, char **argv);
int status_main(int argc, char **argv);
int watch_main(int argc, char **argv);
int check_main(int argc, char **argv);

#endif
