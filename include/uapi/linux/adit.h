/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR Apache-2.0 OR MIT */
/*
 * An ADI as a VFIO device: the interface of adit_vfio to the process that opens one.
 *
 * The same interface for Rust, documented in more detail, is uapi/src/vfio/. A test compares the
 * sizes and offsets of the two.
 */
#ifndef _UAPI_LINUX_ADIT_H
#define _UAPI_LINUX_ADIT_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Regions, for VFIO_DEVICE_GET_REGION_INFO. */
#define ADIT_REGION_INFO	0	/* read: struct adit_adi_info */
#define ADIT_REGION_DOORBELLS	1	/* mmap: TX tails, buffer queue tails */
#define ADIT_REGION_INTERRUPTS	2	/* mmap: DYN_CTL, one page per vector */
#define ADIT_REGION_KICK	3	/* mmap: a write wakes queues */
#define ADIT_REGION_MAILBOX	4	/* write a request, read its reply */
#define ADIT_REGION_DMA		5	/* mmap: memory allocated by the driver */
#define ADIT_NUM_REGIONS	6

/* Interrupts, for VFIO_DEVICE_SET_IRQS; by eventfd. */
#define ADIT_IRQ_VECTORS	0
#define ADIT_IRQ_REQUEST	1	/* close the device */
#define ADIT_IRQ_FAULT		2	/* see ADIT_OP_GET_ADI_FAULT */
#define ADIT_NUM_IRQS		3

#define ADIT_DOORBELLS_PER_PAIR	3

#define ADIT_INFO_MAGIC		0x54494441	/* "ADIT" in memory */
#define ADIT_INFO_VERSION	1

#define ADIT_STATE_ACTIVE	1
#define ADIT_STATE_DEAD		2

struct adit_adi_info {
	__le32 magic;
	__le16 version;
	__le16 len;			/* bytes filled in */
	__le32 device_adi_id;		/* in the device; not the N of adit.adi.N */
	__le32 state;
	__u8 mac[6];
	__le16 vlan;			/* 0: none */
	__le16 num_queue_pairs;
	__le16 num_vectors;
	__le16 max_mtu;			/* bytes, without the Ethernet header */
	__le16 max_ring_len;		/* entries */
	__le16 ring_len_multiple;	/* entries */
	__le16 ring_align;		/* bytes */
	__le32 max_payload_len;		/* bytes */
	__le32 max_registrations;
	__le32 asleep_offset;		/* in a doorbell page */
	__le32 kick_offset;		/* in the kick page */
	__u8 pad[12];
	__le64 max_registered_len;	/* bytes */
	__le64 iova_first;
	__le64 iova_last;
	__le64 dma_iova;
	__le64 dma_len;			/* bytes */
	__le64 faults;
	__u8 reserved[48];
};

/* Software mailbox: messages besides virtchnl2's. */
#define ADIT_OP_REGISTER_MEMORY		0x80000001
#define ADIT_OP_UNREGISTER_MEMORY	0x80000002
#define ADIT_OP_GET_ADI_FAULT		0x0AD10003
#define ADIT_OP_CONFIG_ADI_DOORBELLS	0x0AD10005
#define ADIT_OP_SUSPEND_ADI		0x0AD10006
#define ADIT_OP_RESUME_ADI		0x0AD10007
#define ADIT_OP_GET_ADI_QUEUE_STATE	0x0AD10008
#define ADIT_OP_SET_ADI_QUEUE_STATE	0x0AD10009
#define ADIT_OP_GET_ADI_VECTOR_STATE	0x0AD1000A
#define ADIT_OP_SET_ADI_VECTOR_STATE	0x0AD1000B
#define ADIT_OP_START_ADI_LOG		0x0AD1000D
#define ADIT_OP_STOP_ADI_LOG		0x0AD1000E
#define ADIT_OP_READ_ADI_LOG		0x0AD1000F

#define ADIT_MAX_PAYLOAD_LEN		4096

struct adit_mailbox_request {
	__le32 opcode;
	__le32 payload_len;
	__le64 cookie;
	__le64 reserved;
};

struct adit_mailbox_reply {
	__le32 opcode;
	__le32 payload_len;
	__le64 cookie;
	__le32 status;
	__le32 reserved;
};

#define ADIT_MEMORY_READ	(1 << 0)
#define ADIT_MEMORY_WRITE	(1 << 1)
#define ADIT_MEMORY_KEEP_QUEUES	(1 << 2)	/* to unregister: do not stop queues */

struct adit_register_memory {
	__le64 iova;
	__le64 len;
	__le32 flags;
	__le32 reserved;
};

/* struct adit_adi_fault.reason */
#define ADIT_FAULT_NONE			0
#define ADIT_FAULT_NOT_MAPPED		1
#define ADIT_FAULT_PERMISSION		2
#define ADIT_FAULT_ALIGNMENT		3
#define ADIT_FAULT_PASID		4
#define ADIT_FAULT_TABLES		5
#define ADIT_FAULT_DESCRIPTOR		6
#define ADIT_FAULT_TAIL			7
#define ADIT_FAULT_NO_COMPLETION_QUEUE	8

/* struct adit_adi_fault.flags */
#define ADIT_FAULT_CLEAR	(1 << 0)	/* clear the record after returning it */
#define ADIT_FAULT_WRITE	(1 << 1)	/* the access was a write */

struct adit_adi_fault {
	__le16 adi_id;			/* 0 */
	__le16 flags;
	__le32 reason;
	__le64 count;			/* since the device was opened or reset */
	__le32 queue_type;
	__le32 queue_id;
	__le64 address;
	__le32 len;			/* bytes of the access */
	__le32 pasid;			/* 0 */
	__u8 reserved[8];
};

/* struct adit_config_adi_doorbells.flags */
#define ADIT_DOORBELLS_NO_KICK	(1 << 0)	/* poll without kicks */

/* No flag is set when the device is opened or reset. */
struct adit_config_adi_doorbells {
	__le16 adi_id;			/* 0 */
	__le16 flags;
};

/* A suspended ADI accesses no memory and signals nothing; a reset ends that, too. */
struct adit_suspend_adi {
	__le16 adi_id;			/* 0 */
	__u8 pad[2];
};

/* struct adit_queue_state.flags */
#define ADIT_QUEUE_ENABLED	(1 << 0)
#define ADIT_QUEUE_GENERATION	(1 << 1)	/* of the next entry that is written */
#define ADIT_QUEUE_STOPPED	(1 << 2)	/* by a fault */

struct adit_queue_state {
	__le16 next;			/* index in the ring */
	__le16 flags;
	__u8 reserved[4];
};

/* Of a suspended ADI; without states in a request to get them. */
struct adit_queue_states {
	__le16 adi_id;			/* 0 */
	__le16 num_states;
	__le32 type;
	__le32 start_queue_id;
	__u8 reserved[4];
	struct adit_queue_state states[];
};

/* struct adit_vector_state.flags */
#define ADIT_VECTOR_PENDING	(1 << 0)	/* signals when it is armed */

struct adit_vector_state {
	__le16 flags;
	__u8 reserved[2];
};

struct adit_vector_states {
	__le16 adi_id;			/* 0 */
	__le16 num_states;
	__le16 start_vector_id;
	__u8 reserved[2];
	struct adit_vector_state states[];
};

#define ADIT_MAX_LOG_RANGES	255
#define ADIT_MAX_LOG_WORDS	254	/* in a reply */
#define ADIT_MIN_LOG_PAGE	4096	/* bytes */

/* Multiples of the page size that is requested. */
struct adit_log_range {
	__le64 iova;
	__le64 len;			/* bytes */
};

/*
 * Starts the log of the pages that the ADI writes. The ranges are in ascending order; the reply has
 * none, and has the page size of the log, which may be larger. The log ends with a reset, and when
 * the device is closed.
 */
struct adit_start_log {
	__le16 adi_id;			/* 0 */
	__le16 num_ranges;		/* 0 in the reply */
	__u8 pad[4];
	__le64 page_size;		/* bytes, a power of two */
	struct adit_log_range ranges[];
};

struct adit_stop_log {
	__le16 adi_id;			/* 0 */
	__u8 pad[2];
};

struct adit_log_word {
	__le64 iova;			/* of the page of bit 0 */
	__le64 written;			/* a bit for each of 64 pages */
};

/*
 * Reads and clears the log within a range. In the reply, iova and len are the rest of the range that
 * has not been read.
 */
struct adit_read_log {
	__le16 adi_id;			/* 0 */
	__le16 num_words;		/* reply */
	__le32 page_shift;		/* reply: the log's pages have 1 << page_shift bytes */
	__le64 iova;
	__le64 len;			/* bytes */
	struct adit_log_word words[];	/* reply */
};

/*
 * A file descriptor that can only map the listed pages, in this order, from offset 0. Sources are
 * the device that the ioctl is called on, or file descriptors from earlier calls. A dummy page
 * replaces the pages of an ADI once its device is closed or reset, or the ADI ends.
 */
#define ADIT_PAGES_FD		_IO(0xAD, 0)
#define ADIT_MAX_PAGES		1024
#define ADIT_MAX_PAGES_FDS	256	/* with pages of one ADI */
#define ADIT_SOURCE_SELF	(-1)

struct adit_page_entry {
	__le32 source_fd;	/* signed */
	__le32 region;
	__le32 page;
	__le32 reserved;
};

struct adit_pages_fd {
	__le32 argsz;
	__le32 flags;
	__le32 count;
	__le32 reserved;
	struct adit_page_entry entries[];
};

/*
 * Makes the queues of other ADIs, the members, those of the virtual port of the ADI that the ioctl
 * is called on, the leader. The caller has the devices of all open. When one of them is closed, the
 * group ends, and the owner loses the others.
 */
#define ADIT_GROUP		_IO(0xAD, 1)
#define ADIT_MAX_GROUP		16	/* ADIs, with the leader */

struct adit_group_member {
	__le32 device_fd;	/* signed */
	__le32 device_adi_id;	/* struct adit_adi_info.device_adi_id */
};

struct adit_group {
	__le32 argsz;
	__le32 flags;
	__le32 count;
	__le32 reserved;
	struct adit_group_member members[];
};

#endif /* _UAPI_LINUX_ADIT_H */
