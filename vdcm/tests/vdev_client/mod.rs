// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The driver of the example `vdev_client`, without its commands.

#[path = "../../examples/vdev_client/device.rs"]
pub(crate) mod device;
#[path = "../../examples/vdev_client/queues.rs"]
pub(crate) mod queues;
#[path = "../../examples/vdev_client/vf.rs"]
pub(crate) mod vf;
