// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of C headers, which Rust cannot call: as rust/helpers/ in the
 * kernel, for what is missing there.
 */

#include <linux/compiler_types.h>
