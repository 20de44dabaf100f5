/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* A function that the selftests of VFIO in 7.2.12 call and do not define. */
#ifndef MISSING_H
#define MISSING_H

#include <stdio.h>
#include <stdlib.h>

static inline void *calloc_assert(size_t n, size_t size)
{
	void *memory = calloc(n, size);

	if (!memory) {
		perror("calloc");
		exit(1);
	}
	return memory;
}

#endif
