// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Captures in the classic pcap format (draft-ietf-opsawg-pcap): one is replayed into the device,
//! the frames that the device sends are recorded in another.

mod record;
mod replay;

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use adit_pipeline::offload::{Checksum, FrameMeta, OnWire};
use thiserror::Error;

use self::record::Recorder;
use self::replay::{Next, Replay};
use super::counters::{PortCounters, RxDrop};
use super::port::{
    checked_len, count_sent, drop_received, LinkState, Port, Received, RecvError, SendError,
    DEFAULT_SPEED_MBPS, MIN_FRAME_LEN,
};

/// `LINKTYPE_ETHERNET`.
const LINKTYPE_ETHERNET: i32 = 1;

/// The speed at which a capture is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// This multiple of the recorded speed; a positive, finite number.
    Times(f64),
    /// As fast as the frames are received.
    Max,
}

impl Default for Speed {
    fn default() -> Self {
        Self::Times(1.0)
    }
}

/// The reason that a capture could not be opened.
#[derive(Debug, Error)]
pub enum PcapError {
    /// The host cannot open the file.
    #[error("cannot open `{path}`: {error}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The host's error.
        error: io::Error,
    },
    /// A pipe or a device, which could block the data plane.
    #[error("`{0}` is not a regular file")]
    NotRegular(PathBuf),
    /// The same file is to be replayed and recorded to.
    #[error("`{0}` cannot be replayed and recorded to at the same time")]
    SameFile(PathBuf),
    /// The file is not in the classic pcap format.
    #[error("`{0}` is not a pcap file (pcapng is not read: `editcap -F pcap` converts it)")]
    Format(PathBuf),
    /// The capture's link type is not Ethernet.
    #[error("`{path}` has link type {link_type}: expected {LINKTYPE_ETHERNET} (Ethernet)")]
    LinkType {
        /// The file.
        path: PathBuf,
        /// The `LINKTYPE_*` value of the file.
        link_type: i32,
    },
}

/// A port that replays one capture and records another.
///
/// The replay's clock starts with the first [`recv`](Port::recv), so the first frame is due at once
/// and the others follow at the recorded intervals. A malformed record ends the replay there with
/// one [`RecvError::Io`]. The link is up unless sent frames cannot be recorded, for example on a
/// full disk; then each call of [`link`](Port::link) checks whether there is space again.
pub struct Pcap {
    name: String,
    /// The reason that recording fails, while it does.
    down_reason: Option<String>,
    replay: Option<Replay>,
    recorder: Option<Recorder>,
    counters: PortCounters,
}

impl Pcap {
    /// Opens `input` for replay, and creates `output`, replacing its content.
    ///
    /// # Errors
    /// Fails when a file cannot be used, with the file and the reason.
    pub fn open(
        input: Option<&Path>,
        output: Option<&Path>,
        speed: Speed,
    ) -> Result<Self, PcapError> {
        if let (Some(input), Some(output)) = (input, output) {
            let inode = |path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
            if inode(input).is_some() && inode(input) == inode(output) {
                return Err(PcapError::SameFile(input.to_owned()));
            }
        }
        let show = |path: Option<&Path>| path.map_or("-".to_owned(), |p| p.display().to_string());
        let name = format!("pcap:{},{}", show(input), show(output));
        let replay = match input {
            Some(path) => {
                regular(path)?;
                let file = File::open(path).map_err(|error| open_error(path, error))?;
                Some(Replay::new(path, file, speed)?)
            }
            None => None,
        };
        let recorder = match output {
            Some(path) => {
                regular(path)?;
                let file = File::create(path).map_err(|error| open_error(path, error))?;
                Some(Recorder::new(file).map_err(|error| open_error(path, error))?)
            }
            None => None,
        };
        Ok(Self {
            name,
            down_reason: None,
            replay,
            recorder,
            counters: PortCounters::default(),
        })
    }

    fn recv_at(&mut self, now: Instant, buf: &mut [u8]) -> Result<Option<Received>, RecvError> {
        let Some(replay) = self.replay.as_mut() else {
            return Ok(None);
        };
        let fate = match replay.next(now) {
            Ok(Next::Wait) => return Ok(None),
            Ok(Next::Frame(frame)) => match buf.get_mut(..frame.data.len()) {
                _ if frame.truncated => Err(RxDrop::Truncated),
                _ if frame.data.len() < MIN_FRAME_LEN => Err(RxDrop::Runt),
                None => Err(RxDrop::TooBig),
                Some(to) => {
                    to.copy_from_slice(frame.data);
                    Ok(frame.data.len())
                }
            },
            Err(error) => return Err(RecvError::Io(error)),
        };
        replay.advance();
        let len = fate.map_err(|reason| drop_received(&mut self.counters, reason))?;
        self.counters.received(OnWire::single(len));
        Ok(Some(Received {
            len,
            meta: FrameMeta::default(),
        }))
    }

    fn write(&mut self, frame: &[IoSlice<'_>], meta: &FrameMeta) -> Result<usize, SendError> {
        let len = checked_len(frame)?;
        if meta.gso.is_some() || matches!(meta.checksum, Checksum::Partial { .. }) {
            return Err(SendError::Refused);
        }
        if self.down_reason.is_some() {
            return Err(SendError::Down);
        }
        if let Some(recorder) = self.recorder.as_mut() {
            if let Err(error) = recorder.write(frame, len) {
                self.down_reason = Some(format!("sent frames cannot be recorded: {error}"));
                return Err(SendError::Io(error));
            }
        }
        Ok(len)
    }
}

impl Port for Pcap {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn next_due(&self) -> Option<Instant> {
        self.replay.as_ref().and_then(Replay::due)
    }

    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<Received>, RecvError> {
        self.recv_at(Instant::now(), buf)
    }

    fn send(&mut self, frame: &[IoSlice<'_>], meta: &FrameMeta) -> Result<(), SendError> {
        let outcome = self.write(frame, meta);
        count_sent(&mut self.counters, frame, meta, outcome)
    }

    fn link(&mut self) -> LinkState {
        if let (Some(down_reason), Some(recorder)) = (&mut self.down_reason, &self.recorder) {
            match recorder.has_room() {
                Ok(()) => self.down_reason = None,
                Err(error) => *down_reason = format!("sent frames cannot be recorded: {error}"),
            }
        }
        LinkState {
            up: self.down_reason.is_none(),
            speed_mbps: DEFAULT_SPEED_MBPS,
        }
    }

    fn is_unwatched(&self) -> bool {
        self.recorder.is_some()
    }

    fn down_reason(&self) -> Option<&str> {
        self.down_reason.as_deref()
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn counters_mut(&mut self) -> &mut PortCounters {
        &mut self.counters
    }
}

/// Rejects files on which opening or I/O could block.
fn regular(path: &Path) -> Result<(), PcapError> {
    match fs::metadata(path) {
        Ok(file) if !file.is_file() => Err(PcapError::NotRegular(path.to_owned())),
        // A missing file is left for the caller to open or create.
        _ => Ok(()),
    }
}

fn open_error(path: &Path, error: io::Error) -> PcapError {
    PcapError::Open {
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests;
