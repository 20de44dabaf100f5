/* SPDX-License-Identifier: GPL-2.0 */
/* What helpers.c makes of inline functions and macros. */

void adit_dma_rmb(void);
