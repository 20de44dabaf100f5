// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Opcode 532 in its published form: 168 bytes, and 32 more for each vector chunk after the first.

use adit_uapi::virtchnl2::adi::{NonFlexCreateAdi, CREATE_ADI_EXT_MAGIC};
use adit_uapi::virtchnl2::{VectorChunk, VectorChunks};
use zerocopy::little_endian::U32;

use super::*;

fn published(pasid: u32, num_vchunks: u16) -> NonFlexCreateAdi {
    NonFlexCreateAdi {
        pasid: U32::new(pasid),
        vchunks: VectorChunks {
            num_vchunks: U16::new(num_vchunks),
            ..VectorChunks::default()
        },
        ..NonFlexCreateAdi::default()
    }
}

/// Builds a message with its vector chunks, of `vectors` vectors each.
fn message(pasid: u32, num_vchunks: u16, vectors: u16) -> Vec<u8> {
    // The bytes of an extension, at the offset at which one without chunks would begin.
    let chunk = VectorChunk {
        start_vector_id: U16::new(1),
        start_evv_id: U16::new(1),
        num_vectors: U16::new(vectors),
        dynctl_reg_start: U32::new(0x2101_0001),
        ..VectorChunk::default()
    };
    let mut message = published(pasid, num_vchunks).as_bytes().to_vec();
    message.truncate(NonFlexCreateAdi::LEN - VectorChunk::LEN);
    for _ in 0..num_vchunks.max(1) {
        message.extend(chunk.as_bytes());
    }
    message
}

/// Requests an ADI; returns the number of its queue pairs, or the status.
fn create(guest: &mut Guest, message: &[u8]) -> Result<u16, u32> {
    let (status, reply) = guest.call(op::NON_FLEX_CREATE_ADI, message);
    if status != status::SUCCESS {
        return Err(status);
    }
    let (_, rest) = NonFlexCreateAdi::read_from_prefix(&reply).unwrap();
    let (ext, _) = CreateAdiExt::read_from_prefix(rest).unwrap();
    Ok(ext.num_tx_q.get())
}

#[test]
fn a_published_message_of_any_length_is_read_as_one() {
    let mut guest = Guest::new(64, 64);
    let mut pasid = 1;
    let mut next = || {
        pasid += 1;
        pasid
    };
    for num_vchunks in [0, 1, 2, 3, 5, 64] {
        let plain = message(next(), num_vchunks, 0);
        assert_eq!(create(&mut guest, &plain), Ok(1), "{num_vchunks} chunks");
        let mut padded = message(next(), num_vchunks, 0);
        padded.resize(4096, 0);
        assert_eq!(create(&mut guest, &padded), Ok(1), "{num_vchunks}, padded");

        let ext = CreateAdiExt {
            magic: U32::new(CREATE_ADI_EXT_MAGIC),
            ..wanted(2)
        };
        let mut extended = message(next(), num_vchunks, 0);
        extended.extend(ext.as_bytes());
        assert_eq!(
            create(&mut guest, &extended),
            Ok(2),
            "{num_vchunks}, extended"
        );
    }
}

#[test]
fn what_is_published_and_not_offered_is_refused_for_that() {
    let mut guest = Guest::new(8, 8);
    for num_vchunks in [1, 2, 7] {
        let vectors_of_the_pf = message(9, num_vchunks, 1);
        let refused = create(&mut guest, &vectors_of_the_pf);
        assert_eq!(refused, Err(status::ERR_ESRCH), "{num_vchunks} chunks");

        let short = &message(9, num_vchunks, 0);
        let refused = create(&mut guest, &short[..short.len() - 1]);
        assert_eq!(refused, Err(status::ERR_EINVAL), "{num_vchunks} chunks");
    }
    let with_mailbox = NonFlexCreateAdi {
        mbx_id: U16::new(1),
        mbx_vec_id: U16::new(3),
        ..published(9, 0)
    };
    let refused = create(&mut guest, with_mailbox.as_bytes());
    assert_eq!(refused, Err(status::ERR_ESRCH));
    let endless = published(9, u16::MAX);
    assert_eq!(
        create(&mut guest, endless.as_bytes()),
        Err(status::ERR_EINVAL)
    );
    assert_eq!(guest.function.datapath().adi_totals().adis, 0);
}
