// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packet types: the numbers in receive descriptors, and their meaning for the driver.
//!
//! The numbers are those of Intel's NICs since the 700 series, so that they mean the same in a
//! hexadecimal dump. One table serves both GET_PTYPE_INFO and the numbers ([`id`]).

use adit_uapi::mailbox::MAX_BUF_LEN;
use adit_uapi::virtchnl2::{proto_hdr, GetPtypeInfo, Ptype, PTYPE_ID_10_LAST};
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

use super::{wire, Refusal};

/// A packet type.
struct Entry {
    /// The same number in flex descriptors (10 bits) and in base descriptors (8 bits).
    id: u8,
    /// Its headers, outermost first.
    headers: &'static [u16],
}

macro_rules! ptypes {
    ($($name:ident = $id:literal: $($header:ident)*;)*) => {
        /// The packet type numbers, named after the headers.
        #[expect(missing_docs, reason = "named after the fields of the standard")]
        pub mod id {
            $(pub const $name: u8 = $id;)*
        }
        /// The packet types, sorted by number.
        const TABLE: &[Entry] =
            &[$(Entry { id: $id, headers: &[$(proto_hdr::$header),*] }),*];
    };
}

ptypes! {
    MAC = 1: MAC PAY;
    ARP = 11: MAC ARP;
    IPV4_FRAG = 22: MAC IPV4 IPV4_FRAG PAY;
    IPV4 = 23: MAC IPV4 PAY;
    IPV4_UDP = 24: MAC IPV4 UDP PAY;
    IPV4_TCP = 26: MAC IPV4 TCP PAY;
    IPV4_SCTP = 27: MAC IPV4 SCTP PAY;
    IPV4_ICMP = 28: MAC IPV4 ICMP PAY;
    IPV6_FRAG = 88: MAC IPV6 IPV6_FRAG PAY;
    IPV6 = 89: MAC IPV6 PAY;
    IPV6_UDP = 90: MAC IPV6 UDP PAY;
    IPV6_TCP = 92: MAC IPV6 TCP PAY;
    IPV6_SCTP = 93: MAC IPV6 SCTP PAY;
    IPV6_ICMPV6 = 94: MAC IPV6 ICMPV6 PAY;
}

/// Handles GET_PTYPE_INFO: the types from the requested number on, then the entry that ends the
/// list. All of them fit in one message, so that only the start of the requested range is used.
pub(super) fn get_ptype_info(payload: &[u8], reply: &mut Vec<u8>) -> Result<(), Refusal> {
    let (request, _) = wire::header::<GetPtypeInfo>(payload)?;
    let first = TABLE.partition_point(|e| u16::from(e.id) < request.start_ptype_id.get());
    let entries = &TABLE[first..];
    let answer = GetPtypeInfo {
        start_ptype_id: request.start_ptype_id,
        num_ptypes: U16::new(entries.len() as u16 + 1),
        pad: U32::ZERO,
    };
    reply.extend_from_slice(answer.as_bytes());
    for entry in entries {
        put(reply, u16::from(entry.id), entry.id, entry.headers);
    }
    // Linux skips at least one protocol id for each type, even if there is none.
    put(reply, PTYPE_ID_10_LAST, 0, &[proto_hdr::NO_PROTO]);
    Ok(())
}

fn put(reply: &mut Vec<u8>, id_10: u16, id_8: u8, headers: &[u16]) {
    let ptype = Ptype {
        ptype_id_10: U16::new(id_10),
        ptype_id_8: id_8,
        proto_id_count: headers.len() as u8,
        pad: U16::ZERO,
    };
    reply.extend_from_slice(ptype.as_bytes());
    headers
        .iter()
        .for_each(|header| reply.extend_from_slice(&header.to_le_bytes()));
}

/// Checks that the table is sorted, and that the whole of it fits in one message.
const _: () = {
    let mut bytes = GetPtypeInfo::LEN + Ptype::LEN + 2;
    let mut at = 0;
    while at < TABLE.len() {
        assert!(at == 0 || TABLE[at - 1].id < TABLE[at].id);
        bytes += Ptype::LEN + 2 * TABLE[at].headers.len();
        at += 1;
    }
    assert!(bytes <= MAX_BUF_LEN);
};
