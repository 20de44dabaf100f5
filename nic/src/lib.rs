// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The NIC model: a device process that stock QEMU plugs in over vfio-user.
pub mod wire;
