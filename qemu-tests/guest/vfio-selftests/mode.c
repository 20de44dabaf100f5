// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Linked into each selftest of VFIO: the environment replaces the default of the IOMMU interface,
 * which is iommufd. Debian's kernel does not have that.
 */
#include <stdlib.h>

extern const char *default_iommu_mode;

__attribute__((constructor)) static void choose(void)
{
	const char *mode = getenv("VFIO_SELFTESTS_IOMMU_MODE");

	if (mode)
		default_iommu_mode = mode;
}
