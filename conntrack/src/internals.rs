// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a connection that control planes do not see, for a tracker that takes this one's place:
//! TCP's windows, the chunks that SCTP has seen, and what helpers remember.
//!
//! Without it the tracker would begin in the middle: it takes a window from the next segment, and if that
//! is a repeated one, acknowledgements of all later data seem to be invalid, which nothing cures.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::entry::Data;
use crate::gre::Tunnel;
use crate::helper::{Helper, HelperState};
use crate::proto::ProtoState;
use crate::tuple::{Endpoint, Protocol, Tuple};

/// The number of the layout of [`Internals`], which changes with any type that is part of them.
const LAYOUT: u8 = 2;

/// The layout before, of [`Unnumbered`].
const UNNUMBERED: u8 = 1;

/// The state of a connection that control planes do not see ([`Tracker::dump_whole`](crate::Tracker)).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Internals {
    proto: ProtoState,
    helper: Option<HelperState>,
    /// The tunnel of a control connection of PPTP, and its place in the order of all.
    tunnel: Option<([Way; 2], u64)>,
}

/// The layout in which tunnels had no place in the order of all.
#[derive(Deserialize)]
struct Unnumbered {
    proto: ProtoState,
    helper: Option<HelperState>,
    tunnel: Option<[Way; 2]>,
}

impl From<Unnumbered> for Internals {
    /// Tunnels have equal numbers: their order is that in which they are restored.
    fn from(old: Unnumbered) -> Self {
        let Unnumbered {
            proto,
            helper,
            tunnel,
        } = old;
        Internals {
            proto,
            helper,
            tunnel: tunnel.map(|ways| (ways, 0)),
        }
    }
}

/// A direction of a tunnel of GRE: addresses and call ids of its source and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Way {
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
}

impl Way {
    fn of(tuple: &Tuple) -> Self {
        let end = |end: Endpoint| (end.address, end.part);
        Way {
            src: end(tuple.src()),
            dst: end(tuple.dst()),
        }
    }

    /// The tuple, unless the addresses are of two families.
    fn tuple(&self) -> Option<Tuple> {
        let [src, dst] = [self.src, self.dst].map(|(address, part)| Endpoint { address, part });
        Tuple::new(Protocol::GRE, src, dst).ok()
    }
}

/// The reason that bytes are not [`Internals`].
#[derive(Debug, Error)]
#[error("the internal state of a connection is damaged: {0}")]
pub struct DamagedInternals(postcard::Error);

impl Internals {
    /// The state of a connection, and its tunnel; `None` if there is none.
    pub(crate) fn new(data: &Data, tunnel: impl FnOnce() -> Option<Tunnel>) -> Option<Self> {
        let extension = data.extension.as_ref();
        let helper = extension.and_then(|extension| extension.helper.clone());
        let has_any = data.proto != ProtoState::None || helper.is_some();
        has_any.then(|| Internals {
            proto: data.proto,
            helper,
            tunnel: tunnel().map(|one| (one.tuples.map(|tuple| Way::of(&tuple)), one.number)),
        })
    }

    /// The bytes of this state, for [`from_bytes`](Self::from_bytes).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // A vector has room for any value, and all of these have a form.
        postcard::to_extend(self, vec![LAYOUT]).unwrap_or_default()
    }

    /// The state of these bytes; `None` if they are those of a release whose state has other parts, or none.
    ///
    /// # Errors
    /// When they have a layout that this release knows, and are damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Option<Self>, DamagedInternals> {
        let read = match bytes.split_first() {
            Some((&LAYOUT, body)) => postcard::from_bytes(body),
            Some((&UNNUMBERED, body)) => postcard::from_bytes(body).map(Unnumbered::into),
            _ => return Ok(None),
        };
        read.map(Some).map_err(DamagedInternals)
    }

    /// Sets the state of a protocol, if this is one of the same. Returns whether it is.
    pub(crate) fn apply(&self, proto: &mut ProtoState) -> bool {
        let is_same = std::mem::discriminant(&self.proto) == std::mem::discriminant(proto);
        if is_same {
            *proto = self.proto;
            if let ProtoState::Tcp(tcp) = proto {
                tcp.limit_scales();
            }
        }
        is_same
    }

    /// The memory of a helper, if this has it.
    pub(crate) fn of_helper(&self, helper: Helper) -> Option<HelperState> {
        let known = self.helper.as_ref();
        known.filter(|known| known.helper() == helper).cloned()
    }

    /// The tunnel.
    pub(crate) fn tunnel(&self) -> Option<Tunnel> {
        let ([one, other], number) = self.tunnel.as_ref()?;
        Some(Tunnel {
            tuples: [one.tuple()?, other.tuple()?],
            number: *number,
        })
    }
}

#[cfg(test)]
mod tests;
