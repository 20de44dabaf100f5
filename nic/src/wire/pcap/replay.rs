// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The reader of a capture, in constant memory, frame by frame at the recorded pace.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{LegacyPcapReader, PcapBlockOwned, PcapError as ParseError};

use super::{PcapError, Speed, LINKTYPE_ETHERNET};

/// The size of the read buffer in bytes, and so the longest record that is read. Common tools
/// capture up to 262,144 bytes of each frame.
const BUFFER_LEN: usize = 512 * 1024;

/// A capture that is being replayed.
pub(super) struct Replay {
    reader: LegacyPcapReader<File>,
    speed: Speed,
    nanoseconds: bool,
    opened: Instant,
    started: Option<Instant>,
    /// The timestamp of the first frame, in nanoseconds since the epoch.
    first: Option<u64>,
    head: Head,
}

/// The next item of the file.
enum Head {
    /// A record of `record_len` bytes that is due this long after the start.
    Frame { due: Duration, record_len: usize },
    /// The file is malformed from here on.
    Malformed(&'static str),
    /// The end of the file.
    End,
}

/// The result of [`Replay::next`].
pub(super) enum Next<'a> {
    /// No frame is due.
    Wait,
    /// A frame, which stays the next one until [`Replay::advance`].
    Frame(Frame<'a>),
}

/// A frame of the capture.
pub(super) struct Frame<'a> {
    pub(super) data: &'a [u8],
    /// Set if the capture contains only the beginning of the frame.
    pub(super) truncated: bool,
}

impl Replay {
    pub(super) fn new(path: &Path, file: File, speed: Speed) -> Result<Self, PcapError> {
        let malformed = || PcapError::Format(path.to_owned());
        let mut reader = LegacyPcapReader::new(BUFFER_LEN, file).map_err(|_| malformed())?;
        let (len, nanoseconds, link_type) = match reader.next() {
            Ok((len, PcapBlockOwned::LegacyHeader(header))) => {
                (len, header.is_nanosecond_precision(), header.network.0)
            }
            _ => return Err(malformed()),
        };
        reader.consume(len);
        if link_type != LINKTYPE_ETHERNET {
            return Err(PcapError::LinkType {
                path: path.to_owned(),
                link_type,
            });
        }
        let mut replay = Self {
            reader,
            speed,
            nanoseconds,
            opened: Instant::now(),
            started: None,
            first: None,
            head: Head::End,
        };
        replay.read_head();
        Ok(replay)
    }

    /// The time at which the next frame is due; in the past while the replay has not started.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.head {
            Head::Frame { due, .. } => self.started.unwrap_or(self.opened).checked_add(due),
            Head::Malformed(_) => Some(self.opened),
            Head::End => None,
        }
    }

    /// Returns the next frame, if it is due.
    pub(super) fn next(&mut self, now: Instant) -> io::Result<Next<'_>> {
        match self.head {
            Head::Frame { due, .. } => {
                let started = *self.started.get_or_insert(now);
                if now.saturating_duration_since(started) < due {
                    return Ok(Next::Wait);
                }
            }
            Head::Malformed(what) => {
                self.head = Head::End;
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            Head::End => return Ok(Next::Wait),
        }
        // The whole record is in the reader's buffer: `read_head` has parsed it there.
        match self.reader.next() {
            Ok((_, PcapBlockOwned::Legacy(record))) => Ok(Next::Frame(Frame {
                data: record.data,
                truncated: record.caplen < record.origlen,
            })),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a record vanished",
            )),
        }
    }

    /// Skips the frame returned by [`next`](Self::next).
    pub(super) fn advance(&mut self) {
        if let Head::Frame { record_len, .. } = self.head {
            self.reader.consume(record_len);
            self.read_head();
        }
    }

    fn read_head(&mut self) {
        self.head = loop {
            match self.reader.next() {
                Ok((record_len, PcapBlockOwned::Legacy(record))) => {
                    let unit = if self.nanoseconds { 1 } else { 1000 };
                    let at =
                        u64::from(record.ts_sec) * 1_000_000_000 + u64::from(record.ts_usec) * unit;
                    // A frame with an earlier timestamp than the first is replayed without waiting.
                    let since = at.saturating_sub(*self.first.get_or_insert(at));
                    break Head::Frame {
                        due: scaled(since, self.speed),
                        record_len,
                    };
                }
                Ok(_) => break Head::Malformed("the recording has a second file header"),
                Err(ParseError::Eof) => break Head::End,
                Err(ParseError::Incomplete(_)) => {
                    if self.reader.refill().is_err() {
                        break Head::Malformed("the recording cannot be read");
                    }
                }
                Err(ParseError::UnexpectedEof) => {
                    break Head::Malformed("the recording ends inside a record");
                }
                Err(_) => break Head::Malformed("the recording has a record of absurd length"),
            }
        };
    }
}

fn scaled(nanoseconds: u64, speed: Speed) -> Duration {
    match speed {
        Speed::Max => Duration::ZERO,
        // Exact, unlike a floating-point number after 104 days.
        Speed::Times(1.0) => Duration::from_nanos(nanoseconds),
        Speed::Times(factor) => {
            Duration::try_from_secs_f64(Duration::from_nanos(nanoseconds).as_secs_f64() / factor)
                .unwrap_or(Duration::MAX)
        }
    }
}
