// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stateful extern objects. Packets and control planes share them: all methods take `&self`.
//! Tables refer to some of them, and calls access them.

mod counter;
mod counts;
mod error;
mod meter;
mod object;
mod profile;
mod register;
mod value_set;

use std::sync::atomic::AtomicU64;

pub use counter::{Count, Counter};
pub(super) use counts::Counts;
pub use error::{ObjectError, ValueSetError};
pub(super) use meter::{Bucket, MeterCell};
pub use meter::{Color, Meter, MeterConfig, MeterLevels, MeterUnit};
pub use object::Object;
pub(super) use profile::MemberAction;
pub use profile::{
    GroupMember, Profile, ProfileError, SetAction, MAX_GROUP, MAX_GROUPS, MAX_WEIGHT,
};
pub use register::Register;
pub use value_set::ValueSet;

fn zeros(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}
