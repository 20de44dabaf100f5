// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fragments for programs that track connections: kept until their datagram is complete, which passes
//! the program once and leaves in fragments of the size that it came in.

use adit_conntrack::{
    Datagram, FragmentLimits, FragmentStatistics, Fragments, Origin, Reassembly, Time,
};
use adit_pipeline::fragment::{self, Division, Fragmentation, Fragmenter};
use adit_pipeline::offload::FrameMeta;
use adit_pipeline::parse::Parsed;

use super::destination::Source;
use crate::frame::Frame;
use crate::ids::P4Port;

/// Maximum length of the link layer's header: Ethernet with two VLAN tags.
const MAX_LINK: usize = 22;

/// The fragments of incomplete datagrams.
pub(super) struct HeldFragments {
    store: Fragments,
    /// A fragment that leaves.
    piece: Frame,
}

/// The fate of a fragment.
pub(super) enum Held {
    /// It is none, or is malformed: it passes as it is.
    No,
    /// It is kept, or was dropped and counted.
    Kept,
    /// It has completed a datagram, which has taken its place.
    Complete(Whole),
    /// It has completed a datagram that is too long for a frame.
    TooLong,
}

/// A datagram as its fragments were.
#[derive(Clone, Copy)]
pub(super) struct Whole {
    fragments: fragment::Fragments,
    /// The number of fragments.
    pub(super) count: u64,
}

impl Whole {
    /// The length of its largest fragment.
    pub(super) fn largest(&self) -> u16 {
        self.fragments.largest
    }
}

impl Default for HeldFragments {
    fn default() -> Self {
        Self {
            store: Fragments::new(FragmentLimits::default()),
            piece: Frame::default(),
        }
    }
}

impl HeldFragments {
    /// Takes a frame if it is a fragment.
    pub(super) fn hold(&mut self, source: Source, frame: &mut Frame, now: u64) -> Held {
        let Ok(parsed) = Parsed::new(frame, frame.len()) else {
            return Held::No;
        };
        let link = usize::from(parsed.l2_len);
        let tags = parsed.vlan_tags().iter();
        let origin = Origin {
            port: source.port().0,
            // Tags have 12 bits each, and an untagged frame is not one of VLAN 0.
            network: tags.fold(0, |network, tag| {
                network << 13 | 1 << 12 | u32::from(tag.tci & 0xfff)
            }),
        };
        let packet = frame.get(link..).unwrap_or_default();
        let now = Time::from_nanos(now);
        match self.store.insert_from(packet, origin, now) {
            Ok(Reassembly::Kept) => Held::Kept,
            Ok(Reassembly::Complete(datagram)) => replace(frame, link, &datagram),
            Ok(Reassembly::Whole) | Err(_) => Held::No,
        }
    }

    /// The way in which a datagram leaves that came in fragments.
    pub(super) fn pieces(&mut self, whole: Whole) -> Pieces<'_> {
        Pieces(Some((whole.fragments.into(), &mut self.piece)))
    }

    /// The way in which a packet leaves that is to be divided, and that came in fragments or whole.
    pub(super) fn division(&mut self, asked: Fragmentation, whole: Option<Whole>) -> Pieces<'_> {
        let division = Division::new(Some(asked), whole.map(|whole| whole.fragments));
        Pieces(division.map(|division| (division, &mut self.piece)))
    }

    /// Removes fragments whose time has passed.
    pub(super) fn expire(&mut self, now: u64) {
        if !self.store.is_empty() {
            self.store.expire(Time::from_nanos(now));
        }
    }

    /// Removes the fragments of a port, which is about to end.
    pub(super) fn discard(&mut self, port: P4Port) {
        self.store.discard(port.0);
    }

    /// Removes all fragments.
    pub(super) fn clear(&mut self) {
        self.store.clear();
    }

    /// The number of incomplete datagrams, and the bytes of their fragments.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.store.len(), self.store.bytes())
    }

    pub(super) fn statistics(&self) -> FragmentStatistics {
        self.store.statistics()
    }
}

/// The pieces in which a packet and its copies leave the program: fragments, of what came in fragments
/// or is to be divided.
pub(super) struct Pieces<'a>(Option<(Division, &'a mut Frame)>);

impl Pieces<'_> {
    /// The only piece of a packet that came whole: itself.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Passes a frame on, in fragments if it is longer than they were, and leaves as it came.
    pub(super) fn each(
        &mut self,
        is_as_came: bool,
        frame: &mut Frame,
        meta: FrameMeta,
        mut pass: impl FnMut(&mut Frame, FrameMeta),
    ) {
        let (division, piece) = match &mut self.0 {
            Some((division, piece)) if is_as_came => (*division, &mut **piece),
            _ => return pass(frame, meta),
        };
        let Some(mut fragmenter) = Fragmenter::new(frame, division) else {
            return pass(frame, meta);
        };
        while let Some(len) = fragmenter.next_into(piece.space()) {
            piece.set_len(len);
            pass(piece, FrameMeta::default());
        }
    }
}

/// Replaces what follows the link layer's header of a frame by a datagram.
fn replace(frame: &mut Frame, link: usize, datagram: &Datagram) -> Held {
    let mut header = [0; MAX_LINK];
    let Some(header) = header.get_mut(..link) else {
        return Held::No;
    };
    header.copy_from_slice(&frame[..link]);
    frame.clear();
    for part in [&*header, datagram.packet()] {
        match frame.append(part.len()) {
            Some(to) => to.copy_from_slice(part),
            None => return Held::TooLong,
        }
    }
    Held::Complete(Whole {
        fragments: fragment::Fragments {
            largest: datagram.largest().min(usize::from(u16::MAX)) as u16,
            id: datagram.id(),
        },
        count: datagram.fragments() as u64,
    })
}
