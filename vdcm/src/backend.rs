// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interface of an ADI to the device that is composed out of it.
//!
//! There are two implementations: an ADI over VFIO, and one of a device model in the same process.
//! Messages carry the ids of [`Adi::ids`]; only this crate composes them, a client's bytes are never
//! passed on.

mod gone;

use std::fs::File;
use std::ops::{Range, RangeInclusive};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use adit_function::dataplane::QueueKind;
use adit_function::doorbells::Run;
use adit_function::ids::AdiId;
use adit_function::memory::{Access, WriteLog};
use adit_vfio_user::migration::IovaRange;
use adit_vfio_user::EventFd;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use adit_function::adi::AdiSpec;
pub(crate) use gone::GoneAdi;

/// An ADI that may stay open when this process ends, as a successor finds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptAdi {
    /// Its name, under which it can be opened again once it is closed.
    pub name: String,
    /// The id of this opening, which no other one has; 0 for an ADI that does not stay open.
    pub opening: u64,
    /// Its properties.
    pub properties: Properties,
}

/// The properties of an ADI, constant while it is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its VLAN, whose tags the NIC inserts and strips; 0 for none.
    pub vlan: u16,
    /// The number of queue pairs: of each pair there are a TX queue, its completion queue, an RX
    /// queue and two buffer queues.
    pub pairs: u16,
    /// The number of vectors.
    pub vectors: u16,
    /// The largest MTU in bytes.
    pub max_mtu: u16,
    /// The maximum number of entries of a ring.
    pub max_ring_len: u16,
    /// The addresses at which memory can be registered.
    pub iova: RangeInclusive<u64>,
    /// The maximum number of registrations.
    pub max_registrations: u32,
    /// The maximum number of bytes of all registrations.
    pub max_registered_len: u64,
}

/// The ids of an ADI's resources in messages to it. Over VFIO all are relative, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Its vport.
    pub vport: u32,
    /// Its id in messages about ADIs.
    pub adi: u16,
    /// The PASID of its queues.
    pub pasid: u32,
    /// The first queue of each kind, in the order of [`QueueKind::ALL`].
    pub first_queues: [u32; QueueKind::ALL.len()],
}

/// A window of the client's memory.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its address for the device.
    pub iova: u64,
    /// Its length in bytes.
    pub len: u64,
    /// The accesses that are permitted.
    pub access: Access,
    /// The file that backs it.
    pub file: Arc<OwnedFd>,
    /// Its offset in the file.
    pub offset: u64,
}

/// A file that can map the doorbell pages of an ADI and do nothing else. Its pages are, in this
/// order: the tails of the TX queues, the tails of the buffer queues, the registers of the vectors;
/// a page of 4 KiB for each (`adit_uapi::regs::adi`).
#[derive(Debug)]
pub struct DoorbellPages {
    /// The file; page 0 is at offset 0.
    pub file: File,
    /// The number of pages.
    pub count: u32,
}

/// Consecutive pages of a file of doorbell pages.
#[derive(Clone, Debug)]
pub struct PagesPart<'a> {
    /// The file.
    pub pages: &'a DoorbellPages,
    /// The pages, by their numbers there.
    pub range: Range<u32>,
}

impl<'a> From<&'a DoorbellPages> for PagesPart<'a> {
    /// All pages.
    fn from(pages: &'a DoorbellPages) -> Self {
        let range = 0..pages.count;
        Self { pages, range }
    }
}

/// An ADI as the leader of a group names it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its id in messages of who manages the NIC.
    pub id: AdiId,
    /// The descriptor of its VFIO device, which proves that this process has it; `None` for one of a
    /// NIC in this process.
    pub device: Option<BorrowedFd<'a>>,
}

/// The link of the port that an ADI is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Set if it is up.
    pub up: bool,
    /// Its speed in Mbit/s.
    pub speed_mbps: u32,
}

/// The reason why an ADI did not do what was requested.
#[derive(Debug, Error)]
pub enum AdiError {
    /// The ADI refused a message; it is unchanged.
    #[error("the ADI refused message {opcode}: {reason}")]
    Refused {
        /// The message.
        opcode: u32,
        /// The reason.
        reason: String,
    },
    /// A limit of the ADI, or of the system for it, is reached.
    #[error("{what}: {reason}")]
    Limit {
        /// The attempted operation.
        what: &'static str,
        /// The limit, with its value.
        reason: String,
    },
    /// The ADI no longer exists, or has been reset and belongs to nobody.
    #[error("the ADI is gone")]
    Gone,
    /// The system failed an operation.
    #[error("{what}")]
    Io {
        /// The attempted operation.
        what: &'static str,
        /// The cause.
        source: std::io::Error,
    },
}

/// An open ADI. It is in the state after its creation, and polls its doorbells without kicks
/// (`adit_uapi::virtchnl2::adi::op::CONFIG_ADI_DOORBELLS`). Dropping it closes it: its queues stop
/// before that returns.
pub trait Adi: Send {
    /// The name that it was opened by.
    fn name(&self) -> &str;

    /// Its properties.
    fn properties(&self) -> &Properties;

    /// The properties of the ADI of this name: its own, or those of a member of its group.
    fn named(&self, name: &str) -> Option<&Properties> {
        (self.name() == name).then(|| self.properties())
    }

    /// The ADIs that it consists of, for a successor of this process: itself, or the members of a group.
    fn members(&self) -> Vec<KeptAdi> {
        vec![KeptAdi {
            name: self.name().to_owned(),
            opening: 0,
            properties: self.properties().clone(),
        }]
    }

    /// The ids of its resources in messages.
    fn ids(&self) -> Ids;

    /// The link of its port.
    ///
    /// # Errors
    /// Fails when it is gone.
    fn link(&self) -> Result<Link, AdiError>;

    /// Sends a virtchnl2 message, one of those that `adit_uapi::vfio` lists, and replaces `reply` by
    /// the reply's payload.
    ///
    /// # Errors
    /// Fails when the message is refused or the ADI is gone.
    fn request(&mut self, opcode: u32, payload: &[u8], reply: &mut Vec<u8>)
        -> Result<(), AdiError>;

    /// Makes a window of memory accessible to the queues.
    ///
    /// # Errors
    /// Fails when it overlaps another window, a limit is reached, or the ADI is gone.
    fn map(&mut self, window: &Window) -> Result<(), AdiError>;

    /// Removes a window that was mapped with exactly this address and length. When this returns, no
    /// access to it is in progress or will be made. Queues continue; one that accesses it later is
    /// stopped by a fault.
    ///
    /// # Errors
    /// Fails when there is no such window. That the ADI is gone is no error: it accesses nothing.
    fn unmap(&mut self, iova: u64, len: u64) -> Result<(), AdiError>;

    /// Marks what the queues write from now on in a log; `None` ends that. Returns false if the back end
    /// does not know what is written. The log is kept by resets and when windows are removed.
    fn log_writes(&mut self, log: Option<Arc<WriteLog>>) -> bool {
        drop(log);
        false
    }

    /// Marks in the log what the queues have written within a range, if it is not marked when it is
    /// written. Called before marks are taken.
    fn collect_writes(&self, range: IovaRange) {
        let _ = range;
    }

    /// Waits until the writes are complete whose marks were taken from the log before.
    fn settle_writes(&self) {}

    /// Sets the eventfd that a vector signals; `None` for none. No thread of this process is
    /// involved when it is signalled by an ADI over VFIO.
    ///
    /// # Errors
    /// Fails when there is no such vector or the ADI is gone.
    fn set_vector(&mut self, vector: u16, eventfd: Option<&EventFd>) -> Result<(), AdiError>;

    /// The doorbell pages, the same file until [`revoke_pages`](Self::revoke_pages).
    ///
    /// # Errors
    /// Fails when the ADI is gone.
    fn pages(&self) -> Result<&DoorbellPages, AdiError>;

    /// Makes one file of pages of several ADIs of this back end, in this order. The pages of each ADI
    /// stay its own: they have no effect once it is gone or its pages are revoked.
    ///
    /// # Errors
    /// Fails when there are too many pages, an ADI is gone, or the back end cannot do this.
    fn join_pages(&self, parts: &[PagesPart<'_>]) -> Result<DoorbellPages, AdiError> {
        let _ = parts;
        Err(AdiError::Limit {
            what: "joining files of doorbell pages",
            reason: "a device of this back end has one ADI".into(),
        })
    }

    /// Takes the doorbell pages away from all processes that have them, and replaces the file by a
    /// new one; resets the ADI, too. For the next client of a device.
    ///
    /// # Errors
    /// Fails when the ADI is gone.
    fn revoke_pages(&mut self) -> Result<(), AdiError> {
        Err(AdiError::Limit {
            what: "revoking doorbell pages",
            reason: "this back end cannot".into(),
        })
    }

    /// Replaces the file of the doorbell pages by that of an ADI of a process which ends, whose client
    /// goes on here. Their content stays.
    ///
    /// # Errors
    /// Fails when the ADI is gone, has other pages, or the back end cannot do this.
    fn adopt_pages(&mut self, pages: OwnedFd) -> Result<(), AdiError> {
        drop(pages);
        Err(AdiError::Limit {
            what: "taking over doorbell pages",
            reason: "the ADIs of this back end have pages of their own".into(),
        })
    }

    /// Returns the id and the descriptor by which the leader of a group names it.
    ///
    /// # Errors
    /// Fails when it is gone or the back end has no groups.
    fn member(&self) -> Result<Member<'_>, AdiError> {
        Err(unsupported("joining ADIs in a group"))
    }

    /// Makes the queues of other ADIs of this back end those of this one's vport, after its own
    /// (`adit_uapi::virtchnl2::adi::AdiGroup`). This is not offered to clients. Resets keep the group;
    /// it ends when one of the ADIs is closed, and over VFIO the others are gone then.
    ///
    /// # Errors
    /// Fails when one of the ADIs is gone, in use, on another port or VLAN or in another group, or the
    /// back end cannot do this.
    fn lead(&mut self, members: &[Member<'_>]) -> Result<(), AdiError> {
        let _ = members;
        Err(unsupported("joining ADIs in a group"))
    }

    /// Returns whether the pages of a group are made one file by
    /// [`place_pages`](Self::place_pages); otherwise [`join_pages`](Self::join_pages) does that.
    fn places_pages(&self) -> bool {
        false
    }

    /// Replaces the file of the doorbell pages by runs of pages of a file that several ADIs share. The
    /// runs are its pages in their order, whose content stays.
    ///
    /// # Errors
    /// Fails when the ADI is gone, the runs are other pages, or the back end cannot do this.
    fn place_pages(&mut self, file: OwnedFd, runs: &[Run]) -> Result<(), AdiError> {
        let _ = (file, runs);
        Err(unsupported("placing doorbell pages in a shared file"))
    }

    /// Stops all queues and restores the state after opening. Windows, eventfds and doorbell pages
    /// are kept.
    ///
    /// # Errors
    /// Fails when the ADI is gone; nothing of it accesses memory then.
    fn reset(&mut self) -> Result<(), AdiError>;

    /// Continues with an ADI that was [inherited](Provider::inherit) from a process which had suspended
    /// it, and will not touch it again. Until then nothing has reached the ADI. Its windows and the
    /// eventfds of its vectors are those that were set here meanwhile, as they were set by that process. An
    /// ADI that was opened by this process is not changed.
    fn take_over(&mut self) {}

    /// Restores the state after opening in an ADI that was [inherited](Provider::inherit) from a process
    /// which has ended. Its doorbell pages are kept; its windows and eventfds are those that were set here
    /// meanwhile. An ADI that was opened by this process is not changed.
    ///
    /// # Errors
    /// Fails when the ADI is gone or cannot have these windows; it must be closed then.
    fn begin_anew(&mut self) -> Result<(), AdiError> {
        Ok(())
    }

    /// Leaves the ADI open for a successor of this process, where there is a keeper: dropping it does not
    /// close it then, and queues go on until the successor begins anew.
    fn leave_open(&mut self) {}

    /// An eventfd that is readable once the ADI has gone or has to be closed.
    fn gone(&self) -> BorrowedFd<'_>;

    /// An eventfd that is readable after a queue was stopped by a fault.
    fn fault(&self) -> BorrowedFd<'_>;
}

/// The error of an operation that a back end does not have.
fn unsupported(what: &'static str) -> AdiError {
    let source = std::io::Error::new(std::io::ErrorKind::Unsupported, "this back end cannot");
    AdiError::Io { what, source }
}

/// A source of ADIs.
pub trait Provider: Send + Sync {
    /// The names of the ADIs that can be opened.
    ///
    /// # Errors
    /// Fails when they cannot be listed.
    fn list(&self) -> Result<Vec<String>, AdiError>;

    /// Returns whether ADIs can be opened by name. Otherwise [`open`](Self::open) refuses each.
    fn opens_by_name(&self) -> bool {
        true
    }

    /// Opens an existing ADI, for one owner at a time.
    ///
    /// # Errors
    /// Fails when there is none of that name or it has another owner.
    fn open(&self, name: &str) -> Result<Box<dyn Adi>, AdiError>;

    /// Creates an ADI and opens it; it is destroyed when it is closed.
    ///
    /// # Errors
    /// Fails when the NIC has no such resources left, or this process does not manage its ADIs: over
    /// VFIO they are created with `adit adi create` or devlink.
    fn create(&self, spec: &AdiSpec) -> Result<Box<dyn Adi>, AdiError>;

    /// Creates an ADI like [`create`](Self::create) over the doorbell pages of one that has ended with
    /// its process, which a client still has mapped.
    ///
    /// # Errors
    /// As [`create`](Self::create), and when the back end cannot do that or the ADI has other pages.
    fn recreate(&self, spec: &AdiSpec, pages: OwnedFd) -> Result<Box<dyn Adi>, AdiError> {
        let _ = (spec, pages);
        Err(AdiError::Limit {
            what: "creating an ADI over inherited doorbell pages",
            reason: "the ADIs of this back end have pages of their own".into(),
        })
    }

    /// Continues with an ADI that a predecessor of this process has left open. If the predecessor
    /// still `runs`, nothing reaches the ADI until [`Adi::take_over`] or [`Adi::begin_anew`]; otherwise it
    /// is in the state after opening.
    ///
    /// # Errors
    /// With [`AdiError::Gone`] when the ADI is gone, or was not left open.
    fn inherit(&self, adi: &KeptAdi, runs: bool) -> Result<Box<dyn Adi>, AdiError> {
        let _ = (adi, runs);
        Err(unsupported("continuing with an ADI of another process"))
    }

    /// Closes an ADI that a predecessor, which has ended, has left open, and that nobody continues with. One
    /// of the same name that was opened since then is not touched.
    fn close(&self, adi: &KeptAdi) {
        let _ = adi;
    }

    /// Closes all that were not inherited of a predecessor which has ended.
    fn close_left(&self) {}
}
