// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Captures (pcap) as traces: their packets come at the intervals at which they were captured.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use adit_conntrack::packet::{Headers, Malformed};
use anyhow::{bail, ensure, Context, Result};
use pcap_file::pcap::PcapReader;
use pcap_file::DataLink;

use crate::policy::Policy;
use crate::settings;
use crate::trace::{Packet, Side, Step, Trace};

/// The longest time between two packets; longer ones are shortened.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// The length of an Ethernet header, and the types of IP in it.
const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// The sides of the hosts: the sender of a packet between two that are not known is on the left.
#[derive(Default)]
struct Sides(BTreeMap<IpAddr, Side>);

impl Sides {
    fn of_packet(&mut self, src: IpAddr, dst: IpAddr) -> Result<Side> {
        let known = (self.0.get(&src).copied(), self.0.get(&dst).copied());
        let side = match known {
            (Some(side), None) => side,
            (Some(side), Some(other)) if side != other => side,
            (Some(_), Some(_)) => bail!("{src} and {dst} are on the same side of the router"),
            (None, Some(other)) => other.opposite(),
            (None, None) => Side::Left,
        };
        self.0.insert(src, side);
        self.0.insert(dst, side.opposite());
        Ok(side)
    }
}

/// The trace of a capture of Ethernet frames or IP packets. Frames of other protocols are left out.
pub(crate) fn parse(name: &str, file: &[u8]) -> Result<Trace> {
    let mut reader = PcapReader::new(file).context("no pcap file")?;
    let link = reader.header().datalink;
    let mut sides = Sides::default();
    let mut steps = Vec::new();
    let mut start = None;
    let mut last = Duration::ZERO;
    for number in 1.. {
        let Some(frame) = reader.next_packet() else {
            break;
        };
        let frame = frame.with_context(|| format!("frame {number}"))?;
        ensure!(
            frame.data.len() == frame.orig_len as usize,
            "frame {number} was captured in part: {} of {} bytes",
            frame.data.len(),
            frame.orig_len
        );
        let time = frame
            .timestamp
            .saturating_sub(*start.get_or_insert(frame.timestamp));
        let Some(packet) = ip_packet(link, &frame.data)? else {
            continue;
        };
        let wait = time.saturating_sub(last).min(MAX_WAIT);
        last = last.max(time);
        if !wait.is_zero() {
            steps.push(Step::Wait(wait));
        }
        let addresses = match Headers::parse(packet) {
            Ok(headers) => headers.hosts(packet),
            Err(error) => return Err(no_packet(number, error)),
        };
        steps.push(Step::Packet(Packet {
            from: sides.of_packet(addresses.0, addresses.1)?,
            bytes: packet.to_vec(),
            to_server: false,
            text: format!("frame {number} at {:.6} s", time.as_secs_f64()),
        }));
    }
    Ok(Trace {
        name: name.to_owned(),
        settings: settings::distinct(),
        policy: Policy::default(),
        since: (0, 0),
        hosts: sides.0.into_iter().collect(),
        steps,
    })
}

fn no_packet(number: usize, error: Malformed) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("frame {number}, which no router passes on"))
}

/// The IP packet of a frame, without what pads the frame; absent if it has another protocol.
fn ip_packet(link: DataLink, frame: &[u8]) -> Result<Option<&[u8]>> {
    let packet = match link {
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => frame,
        DataLink::ETHERNET => match frame.split_at_checked(ETHERNET) {
            Some((header, packet)) if [IPV4, IPV6].iter().any(|it| header[12..] == *it) => packet,
            _ => return Ok(None),
        },
        other => bail!("link type {other:?} is none of Ethernet and raw IP"),
    };
    let end = Headers::parse(packet).map_or(packet.len(), |headers| headers.end);
    Ok(Some(&packet[..end]))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use adit_conntrack::Family;
    use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

    use super::*;
    use crate::script;

    /// The packets of the committed capture.
    const SCRIPT: &str = "\
        > tcp S isn=100\nwait 0.05\n< tcp SA isn=7000\n> tcp A\nwait 0.2\n> tcp PA len=100\n\
        < tcp A\n< tcp PA len=300\n> tcp A\n> udp conn=3 len=40\nwait 0.1\n< udp conn=3 len=80\n\
        > icmp echo id=4\n< icmp reply id=4\n< error port of=3\n> tcp FA\n< tcp FA\n> tcp A\n";

    /// A capture of Ethernet frames: `lines` with each family.
    fn capture(lines: &str) -> Vec<u8> {
        let header = PcapHeader {
            datalink: DataLink::ETHERNET,
            ..PcapHeader::default()
        };
        let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
        let mut time = Duration::from_secs(1_700_000_000);
        let mut write = |time: Duration, kind: [u8; 2], packet: &[u8]| {
            let mut frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &kind[..], packet].concat();
            frame.resize(frame.len().max(60), 0);
            let length = frame.len() as u32;
            let packet = PcapPacket::new(time, length, &frame);
            writer.write_packet(&packet).unwrap();
        };
        for (family, kind) in [(Family::V4, IPV4), (Family::V6, IPV6)] {
            write(time, [0x08, 0x06], &[0; 28]);
            for step in script::parse("capture", lines, family)
                .unwrap()
                .unwrap()
                .steps
            {
                match step {
                    Step::Packet(packet) => write(time, kind, &packet.bytes),
                    Step::Wait(wait) => time += wait,
                    Step::SetTimeout(_) => panic!("a capture has packets only"),
                }
                time += Duration::from_millis(1);
            }
        }
        writer.into_writer()
    }

    #[test]
    fn captures_are_traces() {
        let trace = parse("capture", &capture(SCRIPT)).unwrap();
        let packets = |steps: &[Step]| -> Vec<(Side, Cow<'static, [u8]>)> {
            let packets = steps.iter().filter_map(|step| match step {
                Step::Packet(packet) => Some((packet.from, packet.bytes.clone().into())),
                _ => None,
            });
            packets.collect()
        };
        let mut expected = Vec::new();
        for family in [Family::V4, Family::V6] {
            let script = script::parse("capture", SCRIPT, family).unwrap().unwrap();
            expected.extend(packets(&script.steps));
        }
        assert_eq!(packets(&trace.steps), expected);
        let waits = trace.steps.iter().filter_map(|step| match step {
            Step::Wait(wait) => Some(*wait),
            _ => None,
        });
        let longest = waits.max().unwrap();
        assert_eq!(longest, Duration::from_millis(202));
        // Client, server, and the router that sends an error, of both families.
        assert_eq!(trace.hosts.len(), 6);
    }

    /// With `UPDATE_CAPTURE` in the environment, the capture is written.
    #[test]
    fn the_committed_capture_is_that_of_the_script() {
        if std::env::var_os("UPDATE_CAPTURE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/traces/session.pcap");
            std::fs::write(path, capture(SCRIPT)).unwrap();
            return;
        }
        let (_, committed) = crate::CAPTURES[0];
        assert!(committed == capture(SCRIPT));
    }

    #[test]
    fn what_no_router_passes_on_is_named() {
        let whole = capture("> udp len=8");
        let error = parse("x", &whole[..whole.len() - 1]).unwrap_err();
        assert!(format!("{error:#}").contains("frame 4"), "{error:#}");
        let error = parse("x", b"no capture").unwrap_err();
        assert!(error.to_string().contains("no pcap file"), "{error:#}");
        let mut sides = Sides::default();
        let host = |number: u8| IpAddr::from([10, 0, 0, number]);
        assert_eq!(sides.of_packet(host(1), host(2)).unwrap(), Side::Left);
        assert_eq!(sides.of_packet(host(3), host(1)).unwrap(), Side::Right);
        assert!(sides.of_packet(host(3), host(2)).is_err());
    }
}
