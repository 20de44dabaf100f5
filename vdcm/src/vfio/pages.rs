// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The doorbell pages of an ADI over VFIO.

use std::fs::File;
use std::os::fd::OwnedFd;

use adit_adi::{Device, Page, Pages};
use adit_uapi::vfio::{region, DOORBELLS_PER_PAIR};
use adit_uapi::virtchnl2::adi::{doorbell_flags, op as adi_op, ConfigAdiDoorbells};
use zerocopy::little_endian::U16;
use zerocopy::IntoBytes;

use super::failed;
use crate::backend::{AdiError, DoorbellPages, Properties};

/// Returns a file of all doorbell pages, in the order of [`DoorbellPages`].
pub(super) fn give(
    device: &dyn Device,
    properties: &Properties,
) -> Result<DoorbellPages, AdiError> {
    let doorbells = u32::from(properties.pairs) * DOORBELLS_PER_PAIR;
    let page = |region| move |page| Page::Own { region, page };
    let pages: Vec<_> = (0..doorbells)
        .map(page(region::DOORBELLS))
        .chain((0..properties.vectors.into()).map(page(region::INTERRUPTS)))
        .collect();
    device
        .give(&pages)
        .map(doorbell_pages)
        .map_err(failed("making a file of doorbell pages"))
}

pub(super) fn doorbell_pages(pages: Pages) -> DoorbellPages {
    DoorbellPages {
        count: pages.count(),
        file: File::from(OwnedFd::from(pages)),
    }
}

/// Makes the device poll the doorbells without kicks.
pub(super) fn poll_doorbells(device: &dyn Device) -> Result<(), AdiError> {
    let message = ConfigAdiDoorbells {
        flags: U16::new(doorbell_flags::NO_KICK),
        ..ConfigAdiDoorbells::default()
    };
    device
        .request(adi_op::CONFIG_ADI_DOORBELLS, message.as_bytes())
        .map(drop)
        .map_err(failed("configuring doorbells"))
}
