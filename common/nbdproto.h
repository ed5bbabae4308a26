/* SPDX-License-Identifier: BSD-3-Clause */
/* NBD on the wire: numbers and layouts of the protocol document (doc/proto.md of NetworkBlockDevice/nbd), fixed newstyle negotiation and simple
 * replies.  Every integer of the structures is big-endian (endian.h: htobe32 and the like); they are packed and may lie at any address.
 *
 * <linux/nbd.h> has some of the same names: no file includes both.
 */
#ifndef NBDSWAP_NBDPROTO_H
#define NBDSWAP_NBDPROTO_H

#include <stdint.h>

#define NBD_PACKED __attribute__((packed))

/* ---- negotiation ---- */

#define NBD_MAGIC UINT64_C(0x4e42444d41474943)	   /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC UINT64_C(0x49484156454f5054) /* "IHAVEOPT": second word of the greeting, first of every option */
#define NBD_OPTION_REPLY_MAGIC UINT64_C(0x3e889045565a9)

#define NBD_STRING_MAX 4096u /* bytes of any string: names, descriptions, error texts */

/* Handshake flags of the server; the client answers with the same bits, in 32. */
#define NBD_FLAG_FIXED_NEWSTYLE (1u << 0)
#define NBD_FLAG_NO_ZEROES (1u << 1)
#define NBD_FLAG_C_FIXED_NEWSTYLE (1u << 0)
#define NBD_FLAG_C_NO_ZEROES (1u << 1)

#define NBD_OPT_EXPORT_NAME 1u
#define NBD_OPT_ABORT 2u
#define NBD_OPT_LIST 3u
#define NBD_OPT_STARTTLS 5u
#define NBD_OPT_INFO 6u
#define NBD_OPT_GO 7u
#define NBD_OPT_STRUCTURED_REPLY 8u
#define NBD_OPT_LIST_META_CONTEXT 9u
#define NBD_OPT_SET_META_CONTEXT 10u
#define NBD_OPT_EXTENDED_HEADERS 11u

#define NBD_REP_ACK 1u
#define NBD_REP_SERVER 2u
#define NBD_REP_INFO 3u
#define NBD_REP_META_CONTEXT 4u
#define NBD_REP_FLAG_ERROR (UINT32_C(1) << 31)
#define NBD_REP_ERR_UNSUP (NBD_REP_FLAG_ERROR | 1u)
#define NBD_REP_ERR_POLICY (NBD_REP_FLAG_ERROR | 2u)
#define NBD_REP_ERR_INVALID (NBD_REP_FLAG_ERROR | 3u)
#define NBD_REP_ERR_PLATFORM (NBD_REP_FLAG_ERROR | 4u)
#define NBD_REP_ERR_TLS_REQD (NBD_REP_FLAG_ERROR | 5u)
#define NBD_REP_ERR_UNKNOWN (NBD_REP_FLAG_ERROR | 6u)
#define NBD_REP_ERR_SHUTDOWN (NBD_REP_FLAG_ERROR | 7u)
#define NBD_REP_ERR_BLOCK_SIZE_REQD (NBD_REP_FLAG_ERROR | 8u)
#define NBD_REP_ERR_TOO_BIG (NBD_REP_FLAG_ERROR | 9u)
#define NBD_REP_ERR_EXT_HEADER_REQD (NBD_REP_FLAG_ERROR | 10u)

#define NBD_INFO_EXPORT 0u
#define NBD_INFO_NAME 1u
#define NBD_INFO_DESCRIPTION 2u
#define NBD_INFO_BLOCK_SIZE 3u

/* Transmission flags. */
#define NBD_FLAG_HAS_FLAGS (1u << 0)
#define NBD_FLAG_READ_ONLY (1u << 1)
#define NBD_FLAG_SEND_FLUSH (1u << 2)
#define NBD_FLAG_SEND_FUA (1u << 3)
#define NBD_FLAG_ROTATIONAL (1u << 4)
#define NBD_FLAG_SEND_TRIM (1u << 5)
#define NBD_FLAG_SEND_WRITE_ZEROES (1u << 6)
#define NBD_FLAG_SEND_DF (1u << 7)
#define NBD_FLAG_CAN_MULTI_CONN (1u << 8)
#define NBD_FLAG_SEND_RESIZE (1u << 9)
#define NBD_FLAG_SEND_CACHE (1u << 10)
#define NBD_FLAG_SEND_FAST_ZERO (1u << 11)

/* What the server says first. */
struct nbd_greeting {
	uint64_t magic;	  /* NBD_MAGIC */
	uint64_t version; /* NBD_OPTION_MAGIC: newstyle */
	uint16_t flags;	  /* handshake flags */
} NBD_PACKED;

/* Before the data of every option; the client's flags, 32 bits alone, come before the first. */
struct nbd_option {
	uint64_t magic; /* NBD_OPTION_MAGIC */
	uint32_t option;
	uint32_t length; /* of its data */
} NBD_PACKED;

struct nbd_option_reply {
	uint64_t magic; /* NBD_OPTION_REPLY_MAGIC */
	uint32_t option;
	uint32_t reply;
	uint32_t length; /* of its data */
} NBD_PACKED;

/* The answer to NBD_OPT_EXPORT_NAME; the zeroes are left out when both sides said NO_ZEROES. */
struct nbd_export_name_reply {
	uint64_t size; /* bytes */
	uint16_t flags; /* transmission flags */
	uint8_t zeroes[124];
} NBD_PACKED;

/* Data of NBD_REP_INFO. */
struct nbd_info_export {
	uint16_t info; /* NBD_INFO_EXPORT */
	uint64_t size; /* bytes */
	uint16_t flags; /* transmission flags */
} NBD_PACKED;

struct nbd_info_block_size {
	uint16_t info; /* NBD_INFO_BLOCK_SIZE */
	uint32_t minimum;
	uint32_t preferred;
	uint32_t maximum; /* of a payload */
} NBD_PACKED;

/* ---- transmission ---- */

#define NBD_REQUEST_MAGIC UINT32_C(0x25609513)
#define NBD_SIMPLE_REPLY_MAGIC UINT32_C(0x67446698)

#define NBD_CMD_READ 0u
#define NBD_CMD_WRITE 1u
#define NBD_CMD_DISC 2u
#define NBD_CMD_FLUSH 3u
#define NBD_CMD_TRIM 4u
#define NBD_CMD_CACHE 5u
#define NBD_CMD_WRITE_ZEROES 6u
#define NBD_CMD_BLOCK_STATUS 7u

#define NBD_CMD_FLAG_FUA (1u << 0)
#define NBD_CMD_FLAG_NO_HOLE (1u << 1)
#define NBD_CMD_FLAG_DF (1u << 2)
#define NBD_CMD_FLAG_REQ_ONE (1u << 3)
#define NBD_CMD_FLAG_FAST_ZERO (1u << 4)

#define NBD_SUCCESS 0u
#define NBD_EPERM 1u
#define NBD_EIO 5u
#define NBD_ENOMEM 12u
#define NBD_EINVAL 22u
#define NBD_ENOSPC 28u
#define NBD_EOVERFLOW 75u
#define NBD_ENOTSUP 95u
#define NBD_ESHUTDOWN 108u

struct nbd_request {
	uint32_t magic; /* NBD_REQUEST_MAGIC */
	uint16_t flags;
	uint16_t type;
	uint64_t cookie; /* the client's: sent back as it came */
	uint64_t offset;
	uint32_t length; /* of the range; for NBD_CMD_WRITE so many bytes follow */
} NBD_PACKED;

struct nbd_simple_reply {
	uint32_t magic; /* NBD_SIMPLE_REPLY_MAGIC */
	uint32_t error;
	uint64_t cookie;
} NBD_PACKED;

_Static_assert(sizeof(struct nbd_greeting) == 18, "protocol");
_Static_assert(sizeof(struct nbd_option) == 16, "protocol");
_Static_assert(sizeof(struct nbd_option_reply) == 20, "protocol");
_Static_assert(sizeof(struct nbd_export_name_reply) == 134, "protocol");
_Static_assert(sizeof(struct nbd_info_export) == 12, "protocol");
_Static_assert(sizeof(struct nbd_info_block_size) == 14, "protocol");
_Static_assert(sizeof(struct nbd_request) == 28, "protocol");
_Static_assert(sizeof(struct nbd_simple_reply) == 16, "protocol");

#endif
