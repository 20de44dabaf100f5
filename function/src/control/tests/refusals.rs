// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Requests that are refused, with their status; a refused request must change nothing.

use adit_uapi::virtchnl2::status::{
    ERR_EACCES, ERR_EBUSY, ERR_EEXIST, ERR_EINVAL, ERR_ENOSPC, ERR_ENXIO, ERR_ERANGE, ERR_ESM,
    ERR_ESRCH,
};
use adit_uapi::virtchnl2::{
    cap, rxq_flags, status, AddQueues, AllocVectors, GetCapabilities, Loopback, MacAddr,
    MacAddrList, PromiscInfo, RssHash, RssKey, RssLut, SriovVfsInfo, VectorChunk, VectorChunks,
    VportStats,
};
use queue_type::{RX, RX_BUFFER, TX, TX_COMPLETION};

use super::*;

/// Two vports with two queues each and vectors 1 to 3.
fn driver() -> Driver {
    let mut driver = Driver::new(3, 2);
    driver.create(0, 2);
    driver.create(1, 2);
    driver.ok(op::ALLOC_VECTORS, vectors(3).as_bytes());
    driver
}

fn vectors(num: u16) -> AllocVectors {
    AllocVectors {
        num_vectors: U16::new(num),
        ..AllocVectors::default()
    }
}

impl Driver {
    #[track_caller]
    pub(super) fn refused(&mut self, opcode: u32, payload: &[u8], status: u32) {
        let before = (self.dp.queues.clone(), self.dp.vectors.clone());
        let got = self.send(opcode, payload);
        assert_eq!(got, status, "{:?}", op::name(opcode));
        assert_eq!(self.reply, payload, "the request comes back");
        assert_eq!((self.dp.queues.clone(), self.dp.vectors.clone()), before);
        self.control.check(&mut self.dp);
    }
}

#[test]
fn opcodes_that_are_not_offered() {
    let mut driver = driver();
    let not_offered = [
        op::UNKNOWN,
        op::EVENT,
        op::RESET_VF,
        op::GET_EDT_CAPS,
        op::RDMA,
        op::PTP_GET_CAPS,
        op::PTP_GET_VPORT_TX_TSTAMP_CAPS,
        op::GET_LAN_MEMORY_REGIONS,
        532,
        554,
        0x0FFF_FFFF,
    ];
    for opcode in not_offered {
        driver.refused(opcode, &[0; 128], ERR_ESRCH);
    }
    let counted: Vec<_> = driver
        .control
        .counters()
        .refused()
        .filter(|&(_, n)| n > 0)
        .collect();
    assert_eq!(counted, [(Refusal::NotOffered, not_offered.len() as u64)]);
}

#[test]
fn truncated_messages_of_every_opcode() {
    let mut driver = driver();
    for opcode in (1..2).chain(500..=553) {
        if driver.send(opcode, &[]) != ERR_ESRCH {
            driver.refused(opcode, &[], ERR_EINVAL);
            driver.refused(opcode, &[0; 3], ERR_EINVAL);
        }
    }
    // More elements are announced than present.
    let mut message = config_tx(0, &[txq(0, 0, 0), complq(0)]);
    message.pop();
    driver.refused(op::CONFIG_TX_QUEUES, &message, ERR_EINVAL);
    let header = MacAddrList {
        num_mac_addr: U16::new(u16::MAX),
        ..MacAddrList::default()
    };
    driver.refused(op::ADD_MAC_ADDR, header.as_bytes(), ERR_EINVAL);
    // No elements.
    driver.refused(op::ENABLE_QUEUES, &named(0, &[]), ERR_EINVAL);
}

#[test]
fn vports_that_are_not_there() {
    let mut driver = driver();
    for id in [2, 3, u32::MAX] {
        for opcode in [op::ENABLE_VPORT, op::DISABLE_VPORT, op::DESTROY_VPORT] {
            driver.refused(opcode, name(id).as_bytes(), ERR_ENXIO);
        }
        driver.refused(
            op::CONFIG_TX_QUEUES,
            &config_tx(id, &[txq(0, 0, 0)]),
            ERR_ENXIO,
        );
        driver.refused(op::CONFIG_RX_QUEUES, &config_rx(id, &[bufq(0)]), ERR_ENXIO);
        driver.refused(op::ENABLE_QUEUES, &named(id, &[(TX, 0)]), ERR_ENXIO);
        driver.refused(op::MAP_QUEUE_VECTOR, &maps(id, &[(TX, 0, 1, 0)]), ERR_ENXIO);
        let stats = VportStats {
            vport_id: U32::new(id),
            ..VportStats::default()
        };
        driver.refused(op::GET_STATS, stats.as_bytes(), ERR_ENXIO);
        let lut = RssLut {
            vport_id: U32::new(id),
            ..RssLut::default()
        };
        driver.refused(op::GET_RSS_LUT, lut.as_bytes(), ERR_ENXIO);
        let loopback = Loopback {
            vport_id: U32::new(id),
            ..Loopback::default()
        };
        driver.refused(op::LOOPBACK, loopback.as_bytes(), ERR_ENXIO);
        let promisc = PromiscInfo {
            vport_id: U32::new(id),
            ..PromiscInfo::default()
        };
        driver.refused(op::CONFIG_PROMISCUOUS_MODE, promisc.as_bytes(), ERR_ENXIO);
    }
}

#[test]
fn vports_that_cannot_be_made() {
    let mut driver = driver();
    let request = |index| CreateVport {
        vport_index: U16::new(index),
        ..CreateVport::default()
    };
    driver.refused(op::CREATE_VPORT, request(0).as_bytes(), ERR_EEXIST);
    driver.refused(op::CREATE_VPORT, request(3).as_bytes(), ERR_ERANGE);
    let odd = CreateVport {
        vport_type: U16::new(7),
        ..request(2)
    };
    driver.refused(op::CREATE_VPORT, odd.as_bytes(), ERR_EINVAL);
    let odd = CreateVport {
        rxq_model: U16::new(2),
        ..request(2)
    };
    driver.refused(op::CREATE_VPORT, odd.as_bytes(), ERR_EINVAL);
}

#[test]
fn queues_of_others_and_of_nobody() {
    let mut driver = driver();
    // A vport of this profile owns 4 TX queues starting at 4 × its id, and two of them are
    // allocated.
    for (id, status) in [(2, ERR_ENXIO), (4, ERR_EACCES), (u32::MAX, ERR_EACCES)] {
        driver.refused(
            op::CONFIG_TX_QUEUES,
            &config_tx(0, &[complq(0), complq(id)]),
            status,
        );
        driver.refused(
            op::ENABLE_QUEUES,
            &named(0, &[(TX, id)]),
            status_of_range(id, status),
        );
        driver.refused(
            op::DEL_QUEUES,
            &named(0, &[(TX, 0), (TX, id)]),
            status_of_range(id, status),
        );
        driver.refused(op::MAP_QUEUE_VECTOR, &maps(0, &[(TX, id, 1, 0)]), status);
    }
    driver.refused(
        op::CONFIG_TX_QUEUES,
        &config_tx(0, &[txq(0, 4, 0)]),
        ERR_EACCES,
    );
    driver.refused(
        op::CONFIG_RX_QUEUES,
        &config_rx(0, &[rxq(0, [0, 4])]),
        ERR_EACCES,
    );
    driver.refused(
        op::CONFIG_RX_QUEUES,
        &config_rx(0, &[rxq(1, [9, 1])]),
        ERR_EACCES,
    );
    let mut wide = named(0, &[(RX_BUFFER, 0)]);
    wide[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    driver.refused(op::ENABLE_QUEUES, &wide, ERR_EACCES);
    wide[24..28].copy_from_slice(&0_u32.to_le_bytes());
    driver.refused(op::ENABLE_QUEUES, &wide, ERR_EINVAL);
    driver.refused(op::ENABLE_QUEUES, &named(0, &[(9, 0)]), ERR_EINVAL);
}

/// The status of a range: one that ends beyond the largest number is out of range, regardless of
/// its owner.
fn status_of_range(id: u32, status: u32) -> u32 {
    if id == u32::MAX {
        ERR_ERANGE
    } else {
        status
    }
}

#[test]
fn queues_out_of_order() {
    let mut driver = driver();
    driver.refused(op::ENABLE_QUEUES, &named(0, &[(TX, 0)]), ERR_ESM);
    driver.ok(
        op::CONFIG_TX_QUEUES,
        &config_tx(0, &[txq(0, 0, 0), complq(0)]),
    );
    driver.refused(op::ENABLE_QUEUES, &named(0, &[(TX, 0), (TX, 1)]), ERR_ESM);
    driver.ok(op::ENABLE_QUEUES, &named(0, &[(TX, 0), (TX_COMPLETION, 0)]));
    driver.ok(op::ENABLE_QUEUES, &named(0, &[(TX, 0)]));
    driver.refused(
        op::CONFIG_TX_QUEUES,
        &config_tx(0, &[complq(1), txq(0, 0, 0)]),
        ERR_EBUSY,
    );
    // A queue listed twice stops once; one that does not run is unchanged.
    driver.ok(op::DISABLE_QUEUES, &named(0, &[(TX, 0), (TX, 0), (TX, 1)]));
    assert_eq!(driver.dp.markers, [0]);
    driver.ok(op::CONFIG_TX_QUEUES, &config_tx(0, &[txq(0, 1, 0)]));
}

/// Makes a valid struct invalid.
type Change<T> = fn(&mut T);

#[test]
fn rings_that_cannot_be() {
    let mut driver = driver();
    let tx = |change: Change<TxqInfo>| {
        let mut info = txq(0, 0, 0);
        change(&mut info);
        config_tx(0, &[complq(0), info])
    };
    let tx_cases: [(Change<TxqInfo>, u32); 8] = [
        (|q| q.ring_len = U16::new(0), ERR_ERANGE),
        (|q| q.ring_len = U16::new(u16::MAX), ERR_ERANGE),
        (|q| q.ring_len = U16::new(100), ERR_ERANGE),
        (|q| q.dma_ring_addr = U64::new(0x1001), ERR_EINVAL),
        (|q| q.dma_ring_addr = U64::new(u64::MAX - 127), ERR_EINVAL),
        (|q| q.model = U16::new(0), ERR_EINVAL),
        (|q| q.sched_mode = U16::new(2), ERR_EINVAL),
        (|q| q.relative_queue_id = U16::new(0x400), ERR_ERANGE),
    ];
    for (change, status) in tx_cases {
        driver.refused(op::CONFIG_TX_QUEUES, &tx(change), status);
    }
    driver.refused(
        op::CONFIG_TX_QUEUES,
        &tx(|q| q.type_ = U32::new(RX)),
        ERR_EINVAL,
    );
    let rx = |change: Change<RxqInfo>, mut info: RxqInfo| {
        change(&mut info);
        config_rx(0, &[info])
    };
    let rx_cases: [(Change<RxqInfo>, RxqInfo, u32); 8] = [
        (|q| q.ring_len = U16::new(31), rxq(0, [0, 1]), ERR_ERANGE),
        (|q| q.desc_ids = U64::new(2), rxq(0, [0, 1]), ERR_EINVAL),
        (
            |q| q.max_pkt_size = U32::new(63),
            rxq(0, [0, 1]),
            ERR_ERANGE,
        ),
        (|q| q.qflags = U16::new(1 << 3), rxq(0, [0, 1]), ERR_EINVAL),
        (|q| q.type_ = U32::new(TX), rxq(0, [0, 1]), ERR_EINVAL),
        (|q| q.data_buffer_size = U32::new(0), bufq(0), ERR_ERANGE),
        (
            |q| q.data_buffer_size = U32::new(1 << 20),
            bufq(0),
            ERR_ERANGE,
        ),
        (|q| q.hdr_buffer_size = U16::new(0), bufq(0), ERR_ERANGE),
    ];
    for (change, info, status) in rx_cases {
        driver.refused(op::CONFIG_RX_QUEUES, &rx(change, info), status);
    }
    // If one of several queues is invalid, none is configured.
    let message = config_rx(0, &[bufq(0), bufq(1), rxq(0, [0, 9])]);
    driver.refused(op::CONFIG_RX_QUEUES, &message, ERR_EACCES);
    assert!(driver.dp.queues.is_empty());
}

#[test]
fn more_queues_than_there_are() {
    let mut driver = driver();
    let request = |n| AddQueues {
        num_tx_q: U16::new(n),
        ..AddQueues::default()
    };
    driver.refused(op::ADD_QUEUES, request(0).as_bytes(), ERR_EINVAL);
    driver.refused(op::ADD_QUEUES, request(3).as_bytes(), ERR_ENOSPC);
    driver.refused(op::ADD_QUEUES, request(u16::MAX).as_bytes(), ERR_ENOSPC);
    // All or none: a TX queue is left, but no RX queue.
    let both = AddQueues {
        num_rx_q: U16::new(1),
        ..request(1)
    };
    driver.refused(op::ADD_QUEUES, both.as_bytes(), ERR_ENOSPC);
    driver.ok(op::ADD_QUEUES, request(2).as_bytes());
    assert_eq!(
        driver.chunks(AddQueues::LEN, U16::new(1))[0]
            .start_queue_id
            .get(),
        2
    );
    // Contiguous or not at all: 0 and 2 are free.
    driver.ok(op::DEL_QUEUES, &named(0, &[(TX, 0), (TX, 2)]));
    driver.refused(op::ADD_QUEUES, request(2).as_bytes(), ERR_ENOSPC);
    driver.ok(op::ADD_QUEUES, request(1).as_bytes());
    assert_eq!(
        driver.chunks(AddQueues::LEN, U16::new(1))[0]
            .start_queue_id
            .get(),
        0
    );
}

#[test]
fn vectors_that_are_not_the_drivers() {
    let mut driver = driver();
    driver.refused(op::ALLOC_VECTORS, vectors(0).as_bytes(), ERR_EINVAL);
    driver.refused(op::ALLOC_VECTORS, vectors(7).as_bytes(), ERR_ENOSPC);
    driver.refused(
        op::MAP_QUEUE_VECTOR,
        &maps(0, &[(TX, 0, 1, 0), (TX, 0, 0, 0)]),
        ERR_ENXIO,
    );
    driver.refused(op::MAP_QUEUE_VECTOR, &maps(0, &[(TX, 0, 4, 0)]), ERR_ENXIO);
    driver.refused(
        op::MAP_QUEUE_VECTOR,
        &maps(0, &[(TX, 0, u16::MAX, 0)]),
        ERR_ENXIO,
    );
    driver.refused(op::MAP_QUEUE_VECTOR, &maps(0, &[(TX, 0, 1, 3)]), ERR_ERANGE);
    driver.refused(
        op::MAP_QUEUE_VECTOR,
        &maps(0, &[(RX_BUFFER, 0, 1, 0)]),
        ERR_EINVAL,
    );
    let dealloc = |start: u16, count: u16| {
        let chunk = VectorChunk {
            start_vector_id: U16::new(start),
            num_vectors: U16::new(count),
            ..VectorChunk::default()
        };
        let header = VectorChunks {
            num_vchunks: U16::new(2),
            ..VectorChunks::default()
        };
        message(&header, &[chunk, chunk])
    };
    for (start, count, status) in [
        (0, 1, ERR_ENXIO),
        (1, 4, ERR_ENXIO),
        (1, 0, ERR_EINVAL),
        (u16::MAX, 2, ERR_ERANGE),
    ] {
        driver.refused(op::DEALLOC_VECTORS, &dealloc(start, count), status);
    }
    // Vectors that are freed lose their mappings.
    driver.ok(
        op::MAP_QUEUE_VECTOR,
        &maps(0, &[(TX, 0, 1, 1), (RX, 1, 3, 0)]),
    );
    driver.ok(op::DEALLOC_VECTORS, &dealloc(2, 2));
    assert_eq!(driver.dp.vectors.len(), 1);
    driver.control.check(&mut driver.dp);
}

#[test]
fn filters_that_make_no_sense() {
    let mut driver = driver();
    let list = |n| MacAddrList {
        num_mac_addr: U16::new(n),
        ..MacAddrList::default()
    };
    let mac = |addr| MacAddr {
        addr,
        type_: 2,
        pad: 0,
    };
    let zero = message(&list(2), &[mac([2; 6]), mac([0; 6])]);
    driver.refused(op::ADD_MAC_ADDR, &zero, ERR_EINVAL);
    let odd = message(
        &list(1),
        &[MacAddr {
            type_: 0,
            ..mac([2; 6])
        }],
    );
    driver.refused(op::ADD_MAC_ADDR, &odd, ERR_EINVAL);
    assert_eq!(driver.dp.vport(VportId(0)).addresses.len(), 1);
    let many = |from: u16, n: u16| {
        let macs = (from..from + n).map(|at| {
            let [high, low] = at.to_be_bytes();
            mac([2, 1, 0, 0, high, low])
        });
        message(&list(n), &macs.collect::<Vec<_>>())
    };
    for part in 0..3 {
        driver.ok(op::ADD_MAC_ADDR, &many(part * 300, 300));
    }
    driver.refused(op::ADD_MAC_ADDR, &many(800, 300), ERR_ENOSPC);
    assert_eq!(driver.dp.vport(VportId(0)).addresses.len(), 901);
    let odd = PromiscInfo {
        flags: U16::new(4),
        ..PromiscInfo::default()
    };
    driver.refused(op::CONFIG_PROMISCUOUS_MODE, odd.as_bytes(), ERR_EINVAL);
    let odd = Loopback {
        enable: 2,
        ..Loopback::default()
    };
    driver.refused(op::LOOPBACK, odd.as_bytes(), ERR_EINVAL);
    driver.ok(op::SET_SRIOV_VFS, SriovVfsInfo::default().as_bytes());
    let some = SriovVfsInfo {
        num_vfs: U16::new(1),
        ..SriovVfsInfo::default()
    };
    driver.refused(op::SET_SRIOV_VFS, some.as_bytes(), ERR_ERANGE);
}

#[test]
fn rss_that_leads_nowhere() {
    let mut driver = driver();
    let key = |n| RssKey {
        key_len: U16::new(n),
        ..RssKey::default()
    };
    driver.refused(op::SET_RSS_KEY, &message(&key(40), &[1_u8; 40]), ERR_ERANGE);
    driver.refused(op::SET_RSS_KEY, &message(&key(52), &[1_u8; 51]), ERR_EINVAL);
    driver.ok(op::SET_RSS_KEY, &message(&key(52), &[1_u8; 52]));
    driver.ok(op::GET_RSS_KEY, key(0).as_bytes());
    assert_eq!(driver.reply, message(&key(52), &[1_u8; 52]));

    let lut = |start, n| RssLut {
        lut_entries_start: U16::new(start),
        lut_entries: U16::new(n),
        ..RssLut::default()
    };
    driver.refused(
        op::SET_RSS_LUT,
        &message(&lut(0, 2), &[U32::new(0), U32::new(2)]),
        ERR_ERANGE,
    );
    driver.refused(
        op::SET_RSS_LUT,
        &message(&lut(511, 2), &[U32::new(0); 2]),
        ERR_ERANGE,
    );
    driver.refused(
        op::SET_RSS_LUT,
        &message(&lut(u16::MAX, 1), &[U32::new(0)]),
        ERR_ERANGE,
    );
    driver.ok(
        op::SET_RSS_LUT,
        &message(&lut(510, 2), &[U32::new(1), U32::new(0)]),
    );
    driver.ok(op::GET_RSS_LUT, lut(510, 2).as_bytes());
    assert_eq!(
        driver.reply,
        message(&lut(510, 2), &[U32::new(1), U32::new(0)])
    );
    driver.ok(op::GET_RSS_LUT, lut(0, 0).as_bytes());
    assert_eq!(driver.reply.len(), RssLut::LEN + 512 * 4);
    driver.refused(op::GET_RSS_LUT, lut(1, 512).as_bytes(), ERR_ERANGE);
    driver.refused(op::GET_RSS_LUT, lut(513, 0).as_bytes(), ERR_ERANGE);

    let hash = RssHash {
        ptype_groups: U64::new(1 << 33),
        ..RssHash::default()
    };
    driver.ok(op::SET_RSS_HASH, hash.as_bytes());
    driver.ok(op::GET_RSS_HASH, RssHash::default().as_bytes());
    assert_eq!(driver.reply, hash.as_bytes());
    let odd = RssHash {
        ptype_groups: U64::new(1),
        ..RssHash::default()
    };
    driver.refused(op::SET_RSS_HASH, odd.as_bytes(), ERR_ERANGE);
}

#[test]
fn profiles_that_cannot_be() {
    assert_eq!(Profile::new(vec![], 1), Err(ProfileError::Vports(0)));
    assert_eq!(
        Profile::new(vec![MAC; 17], 1),
        Err(ProfileError::Vports(17))
    );
    assert_eq!(Profile::new(vec![MAC], 0), Err(ProfileError::Queues(0)));
    assert_eq!(Profile::new(vec![MAC], 129), Err(ProfileError::Queues(129)));
    assert_eq!(
        Profile::new(vec![MAC; 16], 128),
        Err(ProfileError::Vectors {
            vports: 16,
            queues: 128,
            vectors: 2065,
            most: 126
        })
    );
    assert_eq!(Profile::new(vec![MAC], 1).unwrap().vectors(), 3);
    let group = [3, 0, 0, 0, 0, 0];
    let refused = ProfileError::Address {
        vport: 1,
        mac: group,
    };
    assert_eq!(Profile::new(vec![MAC, group], 1), Err(refused));
}

#[test]
fn limits_of_adis_that_cannot_be() {
    let with = |mac, adis, pairs| {
        let profile = Profile::new(vec![mac], 1).unwrap();
        profile.with_adis(AdiLimits { adis, pairs }).map(|_| ())
    };
    assert_eq!(with(MAC, 16_384, 16_384), Ok(()));
    assert_eq!(with(MAC, 16_385, 16_384), Err(ProfileError::Adis(16_385)));
    assert_eq!(with(MAC, 1, 16_385), Err(ProfileError::AdiQueues(16_385)));
    let fewer = ProfileError::PairsPerAdi { adis: 5, pairs: 4 };
    assert_eq!(with(MAC, 5, 4), Err(fewer));
    let theirs = [2, 0, 0, 0x80, 0, 4];
    assert_eq!(with(theirs, 4, 4), Ok(()));
    let refused = ProfileError::AdiAddress {
        vport: 0,
        mac: theirs,
        first: [2, 0, 0, 0x80, 0, 0],
        last: theirs,
    };
    assert_eq!(with(theirs, 5, 5), Err(refused));
    assert_eq!(with([0, 0, 0, 0x80, 0, 4], 5, 5), Ok(()));
}

#[test]
fn a_narrowed_function_grants_less_and_refuses_the_messages_of_the_rest() {
    let mut allowed = Capabilities::ALL;
    allowed.other &= !(cap::other::FLOW_STEER | cap::other::PROMISC | cap::other::MACFILTER);
    (allowed.rss, allowed.seg) = (0, cap::seg::IPV4_TCP);
    (allowed.hsplit, allowed.rsc) = (0, 0);
    let profile = driver::profile(1, 2)
        .narrowed(&allowed)
        .with_max_frame(1522);
    let dp = MockDataPlane::new(&profile, GuestMemory::new());
    let mut driver = Driver::with(profile, dp);
    let request = GetCapabilities {
        seg_caps: U32::new(u32::MAX),
        rss_caps: U64::new(u64::MAX),
        other_caps: U64::new(u64::MAX),
        ..GetCapabilities::default()
    };
    driver.ok(op::GET_CAPS, request.as_bytes());
    let granted = driver.answer::<GetCapabilities>().0;
    assert_eq!(granted.seg_caps.get(), cap::seg::IPV4_TCP);
    assert_eq!(
        (granted.rss_caps.get(), granted.other_caps.get()),
        (0, allowed.other)
    );
    let vport = driver.create(0, 1);
    assert_eq!(
        (vport.vport_flags.get(), vport.flow_steer_max_rules.get()),
        (0, 0)
    );
    assert_eq!(vport.max_mtu.get(), 1522);
    for opcode in [
        op::ADD_MAC_ADDR,
        op::DEL_MAC_ADDR,
        op::CONFIG_PROMISCUOUS_MODE,
        op::ADD_FLOW_RULE,
        op::GET_RSS_KEY,
    ] {
        assert_eq!(driver.send(opcode, &[0; 64]), status::ERR_ESRCH, "{opcode}");
    }
    driver.ok(op::GET_PTYPE_INFO, &[0; 8]);
    // Linux sets a key and a table of the sizes that it was given.
    let sizes = (vport.rss_key_size.get(), vport.rss_lut_size.get());
    assert_eq!(sizes, (0, 0));
    driver.ok(op::SET_RSS_KEY, RssKey::default().as_bytes());
    driver.ok(op::SET_RSS_LUT, RssLut::default().as_bytes());
    let key = RssKey {
        key_len: U16::new(52),
        ..RssKey::default()
    };
    let lut = RssLut {
        lut_entries: U16::new(1),
        ..RssLut::default()
    };
    let key = driver.send(op::SET_RSS_KEY, &message(&key, &[0_u8; 52]));
    let lut = driver.send(op::SET_RSS_LUT, &message(&lut, &[0_u8; 4]));
    assert_eq!((key, lut), (status::ERR_ESRCH, status::ERR_ESRCH));
    let flags = |flags| {
        let qflags = U16::new(rxq_flags::DESC_SIZE_32BYTE | flags);
        let rx = RxqInfo {
            qflags,
            ..rxq(0, [0, 1])
        };
        let buffers = RxqInfo { qflags, ..bufq(0) };
        [rx, buffers]
    };
    for queue in flags(rxq_flags::HDR_SPLIT)
        .into_iter()
        .chain(flags(rxq_flags::RSC))
    {
        let status = driver.send(op::CONFIG_RX_QUEUES, &config_rx(0, &[queue]));
        assert_eq!(status, status::ERR_ESRCH);
    }
    driver.ok(op::CONFIG_RX_QUEUES, &config_rx(0, &flags(0)));
}
