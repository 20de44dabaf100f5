// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const GROUP: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// The key and the first IPv4 vector of Microsoft's "Verifying the RSS hash calculation".
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

fn frame(dst: [u8; 6], protocol: u8) -> Vec<u8> {
    let mut frame = dst.to_vec();
    frame.extend([2; 6]);
    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0]);
    frame.extend([66, 9, 149, 187, 161, 142, 100, 80]);
    frame.extend(2794_u16.to_be_bytes());
    frame.extend(1766_u16.to_be_bytes());
    frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0]);
    frame
}

fn steer(forwarding: &Forwarding, frame: &[u8]) -> Steering {
    forwarding.steer(
        &Parsed::new(frame, frame.len()).unwrap(),
        frame,
        &Receive::default(),
    )
}

#[test]
fn a_port_takes_its_addresses_broadcast_and_what_a_promiscuous_mode_adds() {
    let mut port = Forwarding::new(OWN, vec![0]);
    let takes = |port: &Forwarding, dst: [u8; 6]| port.wants(DstKind::of(&dst), &frame(dst, 6));
    assert!(takes(&port, OWN) && takes(&port, [0xFF; 6]));
    assert!(!takes(&port, [2; 6]) && !takes(&port, GROUP));
    port.add_address(GROUP);
    assert!(takes(&port, GROUP) && !takes(&port, [3; 6]));
    port.set_promiscuous(true, false);
    assert!(takes(&port, [2; 6]) && !takes(&port, [3; 6]));
    port.set_promiscuous(true, true);
    assert!(takes(&port, [3; 6]));
}

#[test]
fn the_hash_of_a_flow_chooses_its_queue() {
    let mut port = Forwarding::new(OWN, vec![10, 11, 12]);
    let mut key = [0; RSS_KEY_LEN];
    key[..40].copy_from_slice(&KEY);
    port.set_rss_key(key);
    let hash = 0x51cc_c178_u32;
    let at = hash as usize % RSS_LUT_LEN;
    assert_eq!(port.rss_lut[at] as usize, at % 3);
    for (entry, queue) in [(1, 11), (2, 12), (3, 10)] {
        port.set_rss_lut(at, &[entry]);
        assert_eq!(
            steer(&port, &frame(OWN, 6)),
            Steering::Queue {
                queue,
                hash: Some(hash)
            }
        );
    }
    // A packet type that is not hashed goes to the first queue, without a hash.
    port.set_rss_hash(0);
    assert_eq!(
        steer(&port, &frame(OWN, 6)),
        Steering::Queue {
            queue: 10,
            hash: None
        }
    );
    // Packets without ports are hashed by addresses only.
    port.set_rss_hash(DEFAULT_HASH);
    let Steering::Queue { hash, .. } = steer(&port, &frame(OWN, 47)) else {
        panic!()
    };
    assert_eq!(hash, Some(0x323e_8fc2));
    port.set_rx_queues(Vec::new());
    assert_eq!(steer(&port, &frame(OWN, 6)), Steering::NoQueue);
}
