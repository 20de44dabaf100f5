// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Capture files: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), which
//! Wireshark and dumpcap write.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgReader, PcapNgWriter};
use pcap_file::{DataLink, TsResolution};

/// The type of the first block of a pcapng file, the same in both byte orders.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The file name extension of pcapng files.
const NG_EXTENSION: &str = "pcapng";

type Input = BufReader<File>;
type Output = BufWriter<File>;

/// A frame of a capture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    /// The time since the epoch of the capture's clock.
    pub(crate) at: Duration,
    pub(crate) data: Vec<u8>,
}

/// A capture file that is read.
pub(crate) struct Capture {
    path: PathBuf,
    reader: Reader,
}

enum Reader {
    Pcap(PcapReader<Input>),
    PcapNg(PcapNgReader<Input>),
}

impl Capture {
    /// Opens a capture file of Ethernet frames, in either format.
    ///
    /// # Errors
    /// When it cannot be read, or has another link layer.
    pub(crate) fn open(path: &Path) -> Result<Capture> {
        let context = || format!("reading {}", path.display());
        let mut file = BufReader::new(File::open(path).with_context(context)?);
        let is_ng = file
            .fill_buf()
            .with_context(context)?
            .starts_with(&SECTION_HEADER);
        let reader = match is_ng {
            true => Reader::PcapNg(PcapNgReader::new(file).with_context(context)?),
            false => {
                let reader = PcapReader::new(file).with_context(context)?;
                ethernet(reader.header().datalink, path)?;
                Reader::Pcap(reader)
            }
        };
        Ok(Capture {
            path: path.to_owned(),
            reader,
        })
    }

    /// Reads the next frame; `None` at the end.
    pub(crate) fn read(&mut self) -> Result<Option<Captured>> {
        let path = &self.path;
        let context = || format!("reading {}", path.display());
        match &mut self.reader {
            Reader::Pcap(reader) => {
                let packet = reader.next_packet().transpose().with_context(context)?;
                Ok(packet.map(|packet| Captured {
                    at: packet.timestamp,
                    data: packet.data.into_owned(),
                }))
            }
            Reader::PcapNg(reader) => loop {
                let block = reader.next_block().transpose().with_context(context)?;
                let (id, units, data) = match block {
                    None => return Ok(None),
                    Some(Block::EnhancedPacket(packet)) => {
                        // The crate interprets every unit as a nanosecond.
                        let units = packet.timestamp.as_nanos() as u64;
                        (packet.interface_id, units, packet.data.into_owned())
                    }
                    // Its captured length is not stored, and its data is padded.
                    Some(Block::SimplePacket(packet)) => {
                        let original = packet.original_len;
                        let mut data = packet.data.into_owned();
                        let snaplen = reader.interfaces().first().map_or(0, |i| i.snaplen);
                        let captured = match snaplen {
                            0 => original,
                            most => original.min(most),
                        };
                        data.truncate(captured as usize);
                        (0, 0, data)
                    }
                    Some(Block::Packet(packet)) => {
                        let units = packet.timestamp;
                        (packet.interface_id.into(), units, packet.data.into_owned())
                    }
                    // Sections, interfaces, names, statistics.
                    Some(_) => continue,
                };
                let interface = reader.interfaces().get(id as usize);
                let interface = interface
                    .with_context(|| format!("a packet of interface {id}, which is not described"))
                    .with_context(context)?;
                ethernet(interface.linktype, path)?;
                let at = time(interface, units);
                return Ok(Some(Captured { at, data }));
            },
        }
    }
}

fn ethernet(link: DataLink, path: &Path) -> Result<()> {
    ensure!(
        link == DataLink::ETHERNET,
        "{}: it has {link:?} frames, Ethernet is wanted",
        path.display()
    );
    Ok(())
}

/// Converts an interface's timestamp, with the options if_tsresol (microseconds without it) and
/// if_tsoffset.
fn time(interface: &InterfaceDescriptionBlock<'_>, units: u64) -> Duration {
    let (mut resolution, mut offset) = (6, 0);
    for option in &interface.options {
        match option {
            InterfaceDescriptionOption::IfTsResol(value) => resolution = *value,
            InterfaceDescriptionOption::IfTsOffset(seconds) => offset = *seconds,
            _ => {}
        }
    }
    // A negative power of 2 if the top bit is set, else of 10.
    let power = u32::from(resolution & 0x7f);
    let per_second = match resolution & 0x80 {
        0 => 10_u128.checked_pow(power),
        _ => 1_u128.checked_shl(power),
    };
    let per_second = per_second.filter(|n| *n > 0).unwrap_or(u128::MAX);
    let units = u128::from(units);
    let seconds = (units / per_second) as u64;
    let rest = units % per_second;
    let nanos = rest
        .checked_mul(1_000_000_000)
        .map_or(0, |n| n / per_second);
    Duration::new(seconds.wrapping_add(offset), nanos as u32)
}

/// A capture file that is written.
pub(crate) enum Recorder {
    Pcap(PcapWriter<Output>),
    PcapNg(PcapNgWriter<Output>),
}

impl Recorder {
    /// Creates a file: pcapng if its name has that extension, else pcap, both with nanoseconds.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn create(path: &Path) -> Result<Recorder> {
        let context = || format!("writing {}", path.display());
        let file = BufWriter::new(File::create(path).with_context(context)?);
        if path.extension().is_some_and(|e| e == NG_EXTENSION) {
            let mut writer = PcapNgWriter::new(file).with_context(context)?;
            let interface = InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: 0,
                options: vec![InterfaceDescriptionOption::IfTsResol(9)],
            };
            let written = writer.write_pcapng_block(interface);
            written.with_context(context)?;
            return Ok(Recorder::PcapNg(writer));
        }
        let header = PcapHeader {
            ts_resolution: TsResolution::NanoSecond,
            ..PcapHeader::default()
        };
        let writer = PcapWriter::with_header(file, header).with_context(context)?;
        Ok(Recorder::Pcap(writer))
    }

    /// Writes a frame.
    pub(crate) fn write(&mut self, at: Duration, frame: &[u8]) -> Result<()> {
        let original_len = u32::try_from(frame.len()).context("a frame of 4 GiB or more")?;
        match self {
            Recorder::Pcap(writer) => {
                writer.write_packet(&PcapPacket::new(at, original_len, frame))?;
            }
            Recorder::PcapNg(writer) => {
                writer.write_pcapng_block(EnhancedPacketBlock {
                    interface_id: 0,
                    timestamp: at,
                    original_len,
                    data: Cow::Borrowed(frame),
                    options: Vec::new(),
                })?;
            }
        }
        Ok(())
    }

    /// Flushes the buffer.
    pub(crate) fn finish(self) -> Result<()> {
        let mut file = match self {
            Recorder::Pcap(writer) => writer.into_writer(),
            Recorder::PcapNg(writer) => writer.into_inner(),
        };
        Ok(file.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_in_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x.pcap", "x.pcapng"] {
            let path = folder.path().join(name);
            let frames = [
                (Duration::new(5, 123_456_789), vec![1; 60]),
                (Duration::ZERO, vec![2; 61]),
            ];
            let mut recorder = Recorder::create(&path).unwrap();
            for (at, frame) in &frames {
                recorder.write(*at, frame).unwrap();
            }
            recorder.finish().unwrap();
            let begin = std::fs::read(&path).unwrap();
            assert_eq!(begin.starts_with(&SECTION_HEADER), name.ends_with("ng"));
            let mut capture = Capture::open(&path).unwrap();
            for (at, data) in frames {
                assert_eq!(capture.read().unwrap(), Some(Captured { at, data }));
            }
            assert_eq!(capture.read().unwrap(), None);
        }
    }

    #[test]
    fn simple_packets_are_read_without_their_padding() {
        use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;
        let folder = tempfile::tempdir().unwrap();
        for (snaplen, captured) in [(0, 61), (62, 61), (30, 30)] {
            let path = folder.path().join("x.pcapng");
            let mut writer = PcapNgWriter::new(File::create(&path).unwrap()).unwrap();
            let interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, snaplen);
            writer.write_pcapng_block(interface).unwrap();
            let packet = SimplePacketBlock {
                original_len: 61,
                data: Cow::Owned(vec![7; captured]),
            };
            writer.write_pcapng_block(packet).unwrap();
            drop(writer);
            let read = Capture::open(&path).unwrap().read().unwrap().unwrap();
            assert_eq!(read.data, vec![7; captured]);
        }
    }

    #[test]
    fn timestamps_have_their_interfaces_resolution() {
        let interface = |options| InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options,
        };
        use InterfaceDescriptionOption::{IfTsOffset, IfTsResol};
        let at = |options, units| time(&interface(options), units);
        assert_eq!(at(vec![], 1_500_000), Duration::from_millis(1500));
        assert_eq!(
            at(vec![IfTsResol(9)], 1_500_000),
            Duration::from_micros(1500)
        );
        assert_eq!(at(vec![IfTsResol(0x81)], 3), Duration::from_millis(1500));
        assert_eq!(at(vec![IfTsOffset(7)], 1), Duration::new(7, 1000));
        // Units too small to represent do not cause a panic.
        assert_eq!(at(vec![IfTsResol(0x7f)], u64::MAX), Duration::ZERO);
        assert_eq!(at(vec![IfTsResol(0xff)], u64::MAX), Duration::ZERO);
    }

    #[test]
    fn frames_of_another_link_layer_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcapng");
        let mut writer = PcapNgWriter::new(File::create(&path).unwrap()).unwrap();
        let interface = InterfaceDescriptionBlock::new(DataLink::RAW, 0);
        writer.write_pcapng_block(interface).unwrap();
        let packet = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::ZERO,
            original_len: 4,
            data: Cow::Borrowed(&[0; 4]),
            options: Vec::new(),
        };
        writer.write_pcapng_block(packet.clone()).unwrap();
        drop(writer);
        let error = Capture::open(&path).unwrap().read().unwrap_err();
        assert!(format!("{error:#}").contains("RAW"), "{error:#}");
    }
}
