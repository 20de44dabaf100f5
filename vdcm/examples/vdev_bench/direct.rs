// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An ADI of a back end, used without a composition.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use adit_adi::{Device, Error, Memory, Page, Pages};
use adit_function::memory::Access;
use adit_uapi::vfio::{
    self, irq, region, AdiInfo, DOORBELLS_PER_PAIR, INFO_MAGIC, INFO_VERSION, PAGE_LEN,
};
use adit_uapi::virtchnl2::adi::op as adi_op;
use adit_vdcm::backend::{Adi, Window};
use adit_vfio_user::EventFd;
use anyhow::{ensure, Context, Result};
use memmap2::{MmapOptions, MmapRaw};
use parking_lot::Mutex;
use zerocopy::little_endian::{U16, U32, U64};

use crate::ids::Ids;

/// The address of the driver's memory.
const IOVA: u64 = 0x8000_0000;

/// The ADI.
pub(crate) struct Direct {
    adi: Mutex<Box<dyn Adi>>,
    ids: Ids,
    info: AdiInfo,
}

impl Direct {
    /// An ADI that was just opened, of which one queue pair is used.
    pub(crate) fn new(adi: Box<dyn Adi>) -> Self {
        let (ids, properties) = (adi.ids(), adi.properties());
        let info = AdiInfo {
            num_queue_pairs: U16::new(properties.pairs),
            num_vectors: U16::new(properties.vectors),
            ..info(properties.mac, properties.max_mtu)
        };
        let ids = Ids {
            vport: ids.vport,
            pasid: ids.pasid,
            first_queues: ids.first_queues,
            first_vector: 0,
        };
        Self {
            adi: Mutex::new(adi),
            ids,
            info,
        }
    }
}

/// The properties that both kinds of devices have.
pub(crate) fn info(mac: [u8; 6], max_mtu: u16) -> AdiInfo {
    AdiInfo {
        magic: U32::new(INFO_MAGIC),
        version: U16::new(INFO_VERSION),
        mac,
        max_mtu: U16::new(max_mtu),
        max_ring_len: U16::new(4096),
        ring_len_multiple: U16::new(8),
        // A word of the kick page that stays 0: the NIC polls the doorbells without kicks.
        asleep_offset: U32::new(0x40),
        iova_first: U64::new(IOVA),
        ..AdiInfo::default()
    }
}

/// A page that replaces the kick page.
pub(crate) fn kick_page() -> Result<MmapRaw, Error> {
    let map = MmapOptions::new().len(PAGE_LEN as usize).map_anon();
    map.map(MmapRaw::from).map_err(|source| Error::Io {
        what: "a page",
        source,
    })
}

/// Converts an error of this program to one of the driver's device.
pub(crate) fn failed(what: &'static str) -> impl Fn(anyhow::Error) -> Error {
    move |error| Error::Io {
        what,
        source: std::io::Error::other(format!("{error:#}")),
    }
}

/// The error of an operation that a queue pair does not use.
pub(crate) fn unused(what: &'static str) -> Error {
    Error::Io {
        what,
        source: std::io::ErrorKind::Unsupported.into(),
    }
}

impl Device for Direct {
    fn info(&self) -> Result<AdiInfo, Error> {
        Ok(self.info)
    }

    fn request(&self, opcode: u32, payload: &[u8]) -> Result<Vec<u8>, Error> {
        if matches!(
            opcode,
            vfio::op::REGISTER_MEMORY | vfio::op::UNREGISTER_MEMORY
        ) {
            // Mapping the memory has registered it.
            return Ok(Vec::new());
        }
        if opcode == adi_op::GET_ADI_FAULT {
            return Err(unused("reading a fault"));
        }
        let mut payload = payload.to_vec();
        let mut send = || {
            self.ids.absolute(opcode, &mut payload)?;
            let mut reply = Vec::new();
            self.adi.lock().request(opcode, &payload, &mut reply)?;
            anyhow::Ok(reply)
        };
        send().map_err(failed("sending a message"))
    }

    fn map_page(&self, index: u32, page: u32) -> Result<MmapRaw, Error> {
        let map = || {
            let adi = self.adi.lock();
            let pages = adi.pages()?;
            let first = match index {
                region::DOORBELLS => 0,
                _ => u32::from(adi.properties().pairs) * DOORBELLS_PER_PAIR,
            };
            let at = first + page;
            ensure!(
                at < pages.count,
                "page {at}: the ADI has {}, from 0",
                pages.count
            );
            let map = MmapOptions::new()
                .offset(u64::from(at) * PAGE_LEN)
                .len(PAGE_LEN as usize)
                .map_raw(&pages.file)?;
            anyhow::Ok(map)
        };
        match index {
            region::DOORBELLS | region::INTERRUPTS => map().map_err(failed("mapping a page")),
            region::KICK => kick_page(),
            _ => Err(unused("mapping a page")),
        }
    }

    fn map_dma_region(&self, _: u64) -> Result<MmapRaw, Error> {
        Err(unused("mapping the driver's memory"))
    }

    unsafe fn map_memory(&self, memory: &Memory) -> Result<(), Error> {
        let map = || {
            let file = memory.fd().context("memory without a file")?;
            let window = Window {
                iova: memory.iova(),
                len: memory.len(),
                access: Access {
                    read: true,
                    write: true,
                },
                file: Arc::new(file.try_clone_to_owned()?),
                offset: 0,
            };
            self.adi.lock().map(&window)?;
            anyhow::Ok(())
        };
        map().map_err(failed("mapping memory"))
    }

    fn unmap_memory(&self, memory: &Memory) -> Result<(), Error> {
        let unmapped = self.adi.lock().unmap(memory.iova(), memory.len());
        unmapped.map_err(|error| failed("unmapping memory")(error.into()))
    }

    fn set_eventfds(
        &self,
        index: u32,
        first: u32,
        eventfds: &[Option<BorrowedFd<'_>>],
    ) -> Result<(), Error> {
        if index != irq::VECTORS {
            // That it has gone or a queue has stopped is not signalled.
            return Ok(());
        }
        let set = || {
            for (vector, eventfd) in (first..).zip(eventfds) {
                let own = match eventfd {
                    Some(eventfd) => Some(EventFd::from_client(eventfd.try_clone_to_owned()?)?),
                    None => None,
                };
                let vector = u16::try_from(vector)?;
                self.adi.lock().set_vector(vector, own.as_ref())?;
            }
            anyhow::Ok(())
        };
        set().map_err(failed("setting eventfds"))
    }

    fn reset(&self) -> Result<(), Error> {
        let reset = self.adi.lock().reset();
        reset.map_err(|error| failed("resetting the ADI")(error.into()))
    }

    fn give(&self, _: &[Page<'_>]) -> Result<Pages, Error> {
        Err(unused("giving pages away"))
    }
}
