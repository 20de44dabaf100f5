// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bytes of each kind of state, as the layout with the current number has them. A release that changes
//! the layout must give it another number ([`LAYOUT`]), or a successor of another release misunderstands it.

use super::*;

/// Bytes in hexadecimal, and what they mean. No two values of a state are equal, enumerations have their last
/// members, and numbers take two bytes where their types have room for them, so that no member can be
/// added, moved or left out.
const FORMS: [(&str, &str); 10] = [
    (
        "0201e907ea07d10fd20fb917ba17a11fa21f8e8da1a20901059989278a278b278c278cb10000",
        "Internals { proto: Tcp(Tcp { end: [1001, 1002], max_end: [2001, 2002], max_window: [3001, 3002], \
         max_ack: [4001, 4002], scale: [142, 141], flags: [161, 162], state: SynSent2, \
         last_direction: Reply, last_kind: None, retransmissions: 153, last_seq: 5001, last_ack: 5002, \
         last_end: 5003, last_window: 5004, last_scale: 140, last_flags: 177 }), helper: None, tunnel: None }",
    ),
    (
        "0202e907ea0708000101010000",
        "Internals { proto: Sctp(Sctp { tags: [1001, 1002], state: HeartbeatSent, init: [false, true], \
         strange_heartbeat: Some(Reply) }), helper: None, tunnel: None }",
    ),
    (
        "0200010001e9070001ea0701eb0700",
        "Internals { proto: None, helper: Some(Ftp(Ftp { line_starts: [[Some(1001), None], \
         [Some(1002), Some(1003)]] })), tunnel: None }",
    ),
    (
        "0200010100",
        "Internals { proto: None, helper: Some(Tftp), tunnel: None }",
    ),
    (
        "0200010200",
        "Internals { proto: None, helper: Some(Irc), tunnel: None }",
    ),
    (
        "02000103e907ea0701c52700",
        "Internals { proto: None, helper: Some(Sip(Sip { register_cseq: 1001, invite_cseq: 1002, \
         answered_port: Some(5061) })), tunnel: None }",
    ),
    (
        "020001040406e907ea07eb0701000a000001d10f000a000002d20f01fd000000000000000000000000000001d30f000a0000\
         01d40fb917",
        "Internals { proto: None, helper: Some(Pptp(Pptp { control: Confirmed, call: ClearRequested, \
         pac: 1001, pns: 1002, inside_pns: 1003 })), tunnel: Some(([\
         Way { src: (10.0.0.1, 2001), dst: (10.0.0.2, 2002) }, \
         Way { src: (fd00::1, 2003), dst: (10.0.0.1, 2004) }], 3001)) }",
    ),
    (
        "02000105e907ea07d10fd20fd30fd40fd50fd60fd70fd80fb917a11fa21f00",
        "Internals { proto: None, helper: Some(Ras(H323 { signalling: [1001, 1002], \
         streams: [[2001, 2002], [2003, 2004], [2005, 2006], [2007, 2008]], lifetime: 3001, \
         awaited: [4001, 4002] })), tunnel: None }",
    ),
    (
        "02000106e907ea07d10fd20fd30fd40fd50fd60fd70fd80fb917a11fa21f00",
        "Internals { proto: None, helper: Some(Q931(H323 { signalling: [1001, 1002], \
         streams: [[2001, 2002], [2003, 2004], [2005, 2006], [2007, 2008]], lifetime: 3001, \
         awaited: [4001, 4002] })), tunnel: None }",
    ),
    (
        "02000107e907ea07d10fd20fd30fd40fd50fd60fd70fd80fb917a11fa21f00",
        "Internals { proto: None, helper: Some(H245(H323 { signalling: [1001, 1002], \
         streams: [[2001, 2002], [2003, 2004], [2005, 2006], [2007, 2008]], lifetime: 3001, \
         awaited: [4001, 4002] })), tunnel: None }",
    ),
];

fn octets(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let octet = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    digits.map(octet).collect()
}

#[test]
fn the_layout_has_the_number_of_its_form() {
    for (hex, meaning) in FORMS {
        let bytes = octets(hex);
        let internals = Internals::from_bytes(&bytes)
            .expect(meaning)
            .expect(meaning);
        assert_eq!(format!("{internals:?}"), meaning);
        assert_eq!(internals.to_bytes(), bytes, "{meaning}");
    }
}

/// Each helper has a form.
#[test]
fn all_helpers_have_a_form() {
    let known = |helper: &Helper| {
        FORMS.iter().any(|(hex, _)| {
            let internals = Internals::from_bytes(&octets(hex)).unwrap();
            internals.unwrap().of_helper(*helper).is_some()
        })
    };
    assert!(Helper::ALL.iter().all(known));
}

#[test]
fn other_layouts_are_not_read() {
    for (hex, meaning) in FORMS {
        let bytes = octets(hex);
        let mut other = bytes.clone();
        other[0] += 1;
        assert_eq!(Internals::from_bytes(&other).unwrap(), None);
        let damaged = Internals::from_bytes(&bytes[..bytes.len() - 1]);
        assert!(damaged.expect_err(meaning).to_string().contains("damaged"));
    }
    assert_eq!(Internals::from_bytes(&[]).unwrap(), None);
}

/// Of the layout before, the tunnel alone differs: its place in the order is missing.
#[test]
fn the_layout_without_numbers_of_tunnels_is_read() {
    for (hex, meaning) in FORMS {
        let bytes = octets(hex);
        let read = Internals::from_bytes(&bytes).unwrap().unwrap();
        if read.tunnel.is_none() {
            let old = [&[1], &bytes[1..]].concat();
            let found = Internals::from_bytes(&old).expect(meaning);
            assert_eq!(found.as_ref(), Some(&read));
        }
    }
    let old = "010001040406e907ea07eb0701000a000001d10f000a000002d20f01fd000000000000000000000000000001d30f000a0000\
               01d40f";
    let found = Internals::from_bytes(&octets(old)).unwrap().unwrap();
    let meaning = "Internals { proto: None, helper: Some(Pptp(Pptp { control: Confirmed, call: ClearRequested, \
                   pac: 1001, pns: 1002, inside_pns: 1003 })), tunnel: Some(([\
                   Way { src: (10.0.0.1, 2001), dst: (10.0.0.2, 2002) }, \
                   Way { src: (fd00::1, 2003), dst: (10.0.0.1, 2004) }], 0)) }";
    assert_eq!(format!("{found:?}"), meaning);
    let half = octets(old);
    assert!(Internals::from_bytes(&half[..half.len() - 1]).is_err());
}
