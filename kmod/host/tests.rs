// SPDX-License-Identifier: GPL-2.0
//! Tests of [`crate::messages`] and [`crate::cause_reader`].

use adit_uapi::regs::adi::{FRAMES, KICK, PAGES_PER_PAIR};
use adit_uapi::virtchnl2::adi::{
    cause_reason, AdiCaps, CauseEntry, CreateAdiExt, NonFlexCreateAdi, CREATE_ADI_EXT_MAGIC,
};
use adit_uapi::virtchnl2::{queue_type, AllocVectors, QueueRegChunk, VectorChunk, VectorChunks};
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use crate::cause_reader::CauseReader;
use crate::ids::{AdiId, CauseRingId, Pasid, QueueId, VportId};
use crate::messages::{self, AdiLayout, AdiRequest, Malformed, QueueRange};

const BAR_LEN: u64 = 1 << 30;

fn request() -> AdiRequest {
    AdiRequest {
        pasid: Pasid(77),
        index: 3,
        queue_pairs: 2,
        mac: [2, 0, 0, 0, 0, 9],
        cause_ring: CauseRingId(1),
        place: None,
    }
}

fn chunk(kind: u32, start: u32, count: u32) -> QueueRegChunk {
    QueueRegChunk {
        type_: kind.into(),
        start_queue_id: start.into(),
        num_queues: count.into(),
        ..QueueRegChunk::default()
    }
}

/// The reply of a conforming device.
struct Reply {
    published: NonFlexCreateAdi,
    extension: CreateAdiExt,
    chunks: Vec<QueueRegChunk>,
}

impl Reply {
    fn good(request: &AdiRequest) -> Self {
        let pairs = u32::from(request.queue_pairs);
        Self {
            published: NonFlexCreateAdi {
                pasid: request.pasid.0.into(),
                adi_index: request.index.into(),
                adi_id: 5.into(),
                ..NonFlexCreateAdi::default()
            },
            extension: CreateAdiExt {
                num_vectors: request.queue_pairs.into(),
                mac: request.mac,
                max_mtu: 9000.into(),
                vport_id: 6.into(),
                num_chunks: 4.into(),
                frame_offset: u64::from(FRAMES.base).into(),
                frame_pages: (pairs * PAGES_PER_PAIR).into(),
                asleep_offset: 0x40.into(),
                kick_offset: u64::from(KICK.base).into(),
                magic: CREATE_ADI_EXT_MAGIC.into(),
                ..CreateAdiExt::default()
            },
            chunks: vec![
                chunk(queue_type::TX, 100, pairs),
                chunk(queue_type::TX_COMPLETION, 200, pairs),
                chunk(queue_type::RX, 300, pairs),
                chunk(queue_type::RX_BUFFER, 400, 2 * pairs),
            ],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.published.as_bytes().to_vec();
        bytes.extend_from_slice(self.extension.as_bytes());
        bytes.extend_from_slice(self.chunks.as_bytes());
        bytes
    }

    fn decode(&self) -> Result<AdiLayout, Malformed> {
        AdiLayout::decode(&request(), &self.bytes(), BAR_LEN)
    }
}

#[test]
fn an_adi_asks_for_its_place_again() {
    let mut request = request();
    let extension = |request: &AdiRequest| {
        let bytes = request.encode();
        CreateAdiExt::read_from_bytes(&bytes[NonFlexCreateAdi::LEN..]).unwrap()
    };
    let anywhere = extension(&request);
    assert_eq!(
        (anywhere.vport_id.get(), anywhere.frame_offset.get()),
        (0, 0)
    );
    let reply = Reply::good(&request);
    let layout = AdiLayout::decode(&request, &reply.bytes(), BAR_LEN).unwrap();
    request.place = Some(layout.place());
    let again = extension(&request);
    assert_eq!(again.vport_id, reply.extension.vport_id);
    assert_eq!(again.frame_offset, reply.extension.frame_offset);
}

#[test]
fn a_request_says_what_is_wanted() {
    let bytes = request().encode();
    let (published, rest) = NonFlexCreateAdi::read_from_prefix(&bytes).expect("the head");
    let extension = CreateAdiExt::read_from_bytes(rest).expect("the extension");
    assert_eq!(extension.magic.get(), CREATE_ADI_EXT_MAGIC);
    assert_eq!((published.pasid.get(), published.adi_index.get()), (77, 3));
    assert_eq!(published.mbx_id.get(), 0xFFFF, "no mailbox of its own");
    assert_eq!(
        (extension.num_tx_q.get(), extension.num_rx_bufq.get()),
        (2, 4)
    );
    assert_eq!(
        (extension.num_vectors.get(), extension.cause_ring.get()),
        (2, 1)
    );
}

#[test]
fn a_good_answer_is_a_layout() {
    let layout = Reply::good(&request()).decode().expect("a layout");
    assert_eq!((layout.adi_id, layout.vport_id), (AdiId(5), VportId(6)));
    let buffers = layout.queues(queue_type::RX_BUFFER).expect("buffer queues");
    assert_eq!(
        *buffers,
        QueueRange {
            start: QueueId(400),
            count: 4
        }
    );
    assert_eq!(
        (
            buffers.relative(QueueId(402)),
            buffers.relative(QueueId(399)),
            buffers.relative(QueueId(404))
        ),
        (Some(2), None, None)
    );
}

#[test]
fn pages_outside_of_the_bar_are_refused() {
    type Change = fn(&mut CreateAdiExt);
    let changes: [(&str, Change); 7] = [
        ("behind the BAR", |ext| ext.frame_offset = BAR_LEN.into()),
        ("its end behind the BAR", |ext| {
            ext.frame_offset = (BAR_LEN - 0x1000).into();
        }),
        ("around the end of all addresses", |ext| {
            ext.frame_offset = (!0xFFF_u64).into();
        }),
        ("not at a page", |ext| ext.frame_offset = 0x1000_0800.into()),
        ("too many pages", |ext| ext.frame_pages = 9.into()),
        ("a kick page behind the BAR", |ext| {
            ext.kick_offset = BAR_LEN.into();
        }),
        ("a word across pages", |ext| {
            ext.asleep_offset = 0xFFE.into()
        }),
    ];
    for (what, change) in changes {
        let mut reply = Reply::good(&request());
        change(&mut reply.extension);
        assert!(reply.decode().is_err(), "{what}");
    }
}

#[test]
fn the_extension_is_behind_all_vector_chunks_and_says_what_it_is() {
    let mut reply = Reply::good(&request());
    reply.published.vchunks.num_vchunks = 3.into();
    assert!(reply.decode().is_err(), "it is where chunks are");
    let mut bytes = reply.published.as_bytes().to_vec();
    bytes.extend([0xFF; 2 * VectorChunk::LEN]);
    bytes.extend_from_slice(reply.extension.as_bytes());
    bytes.extend_from_slice(reply.chunks.as_bytes());
    assert!(AdiLayout::decode(&request(), &bytes, BAR_LEN).is_ok());

    let mut reply = Reply::good(&request());
    reply.extension.magic = 0.into();
    assert!(reply.decode().is_err(), "it is none");
}

#[test]
fn queues_that_were_not_asked_for_are_refused() {
    let mut reply = Reply::good(&request());
    reply.published.pasid = 78.into();
    assert!(reply.decode().is_err(), "another's PASID");
    let mut reply = Reply::good(&request());
    reply.chunks[1] = chunk(queue_type::TX, 200, 2);
    assert!(reply.decode().is_err(), "a kind twice");
    let mut reply = Reply::good(&request());
    reply.chunks[3] = chunk(queue_type::RX_BUFFER, 400, 3);
    assert!(reply.decode().is_err(), "one too few");
    let mut reply = Reply::good(&request());
    reply.chunks[0] = chunk(queue_type::TX, u32::MAX, 2);
    assert!(reply.decode().is_err(), "around the end of all names");
    let mut reply = Reply::good(&request());
    reply.chunks.pop();
    assert!(reply.decode().is_err(), "cut off");
}

#[test]
fn vectors_are_those_of_the_function() {
    let reply = |start: u16, count: u16, chunks: u16| {
        let header = AllocVectors {
            num_vectors: count.into(),
            vchunks: VectorChunks {
                num_vchunks: chunks.into(),
                ..VectorChunks::default()
            },
            ..AllocVectors::default()
        };
        let chunk = VectorChunk {
            start_vector_id: start.into(),
            num_vectors: count.into(),
            ..VectorChunk::default()
        };
        [header.as_bytes(), chunk.as_bytes()].concat()
    };
    assert!(messages::vectors(&reply(1, 2, 1), 2, 3).is_ok());
    assert!(
        messages::vectors(&reply(0, 2, 1), 2, 3).is_err(),
        "the mailbox's"
    );
    assert!(
        messages::vectors(&reply(2, 2, 1), 2, 3).is_err(),
        "beyond the last"
    );
    assert!(messages::vectors(&reply(1, 1, 1), 2, 3).is_err(), "too few");
    assert!(
        messages::vectors(&reply(1, 2, 2), 2, 3).is_err(),
        "in pieces"
    );
}

#[test]
fn adis_need_something_to_be_made_of() {
    let caps = AdiCaps {
        max_adis: 1.into(),
        ..AdiCaps::default()
    };
    assert!(messages::adi_caps(caps.as_bytes()).is_err());
    assert!(messages::adi_caps(AdiCaps::default().as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn no_answer_is_too_strange(
        mut reply in prop::collection::vec(any::<u8>(), 0..600),
        whole in any::<bool>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        if whole {
            // One byte of a good reply is replaced.
            reply = Reply::good(&request()).bytes();
            let at = at.index(reply.len());
            reply[at] = byte;
        }
        if let Ok(layout) = AdiLayout::decode(&request(), &reply, BAR_LEN) {
            prop_assert!(layout.frame_offset + u64::from(layout.frame_pages) * 0x1000 <= BAR_LEN);
            prop_assert_eq!(layout.tx.count, 2);
        }
        let _ = messages::adi_caps(&reply);
        let _ = messages::vectors(&reply, 2, 3);
        let _ = messages::check_version(&reply);
    }

    /// Checks that every entry is read once and in order, with a device that writes and a driver
    /// that reads any number of entries at a time, within the capacity of the ring.
    #[test]
    fn causes_are_read_once_and_in_order(
        len in prop::sample::select(vec![8u32, 16, 64]),
        steps in prop::collection::vec((0u16..20, 0u16..20), 1..60),
    ) {
        let mut ring = vec![0u64; len as usize];
        let (mut written, mut read) = (0u16, 0u16);
        let mut reader = CauseReader::new(len);
        for (write, take) in steps {
            for _ in 0..write {
                // One entry always stays free.
                if u32::from(written - read) == len - 1 {
                    break;
                }
                let pass = u32::from(written) / len;
                let entry = CauseEntry::new(written, 0, cause_reason::INTERRUPT, pass % 2 == 0);
                ring[(u32::from(written) % len) as usize] = entry.0;
                written += 1;
            }
            for _ in 0..take {
                let value = ring[reader.index() as usize];
                match reader.take(value) {
                    Some(entry) => {
                        prop_assert_eq!(entry.adi_id(), read);
                        read += 1;
                    }
                    None => {
                        prop_assert_eq!(read, written);
                        break;
                    }
                }
            }
        }
        while let Some(entry) = reader.take(ring[reader.index() as usize]) {
            prop_assert_eq!(entry.adi_id(), read);
            read += 1;
        }
        prop_assert_eq!(read, written);
    }
}
