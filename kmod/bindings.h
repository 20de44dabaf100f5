/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Headers of interfaces that the kernel crate does not bind. adit_bindings.rs is generated from
 * them, for the items that Kbuild lists.
 */

#include <linux/anon_inodes.h>
#include <linux/device.h>
#include <linux/eventfd.h>
#include <linux/iommu.h>
#include <linux/mdev.h>
#include <linux/pci.h>
#include <linux/vfio.h>
#include <net/devlink.h>
#include <uapi/linux/iommufd.h>

#include "helpers.h"
