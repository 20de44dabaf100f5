// SPDX-License-Identifier: GPL-2.0
//! The parts of the kernel module that do not depend on the kernel: the same files that adit.ko is
//! built from, compiled for the host so that they can be tested there.
// Some items are used by the module only.
#![allow(dead_code)]
#![forbid(unsafe_code)]

#[rustfmt::skip]
#[path = "../adi/group.rs"]
mod adi_group;
#[rustfmt::skip]
#[path = "../adi/life.rs"]
mod adi_life;
#[rustfmt::skip]
#[path = "../cause_reader.rs"]
mod cause_reader;
#[rustfmt::skip]
#[path = "../ids.rs"]
mod ids;
#[rustfmt::skip]
#[path = "../messages.rs"]
mod messages;
#[rustfmt::skip]
#[path = "../vfio/backoff.rs"]
mod vfio_backoff;
#[rustfmt::skip]
#[path = "../vfio/messages.rs"]
mod vfio_messages;
#[rustfmt::skip]
#[path = "../vfio/regions.rs"]
mod vfio_regions;

#[cfg(test)]
mod backoff_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod life_tests;
#[cfg(test)]
mod regions_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vfio_tests;
