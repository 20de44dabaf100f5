// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of C headers, which Rust cannot call: as rust/helpers/ in the
 * kernel, for what is missing there.
 */

#include <asm/barrier.h>

#include "helpers.h"

void adit_dma_rmb(void)
{
	dma_rmb();
}
