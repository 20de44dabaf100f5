// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Recordings in the classic pcap format (draft-ietf-opsawg-pcap): one is replayed into the
//! device, what the device sends is recorded in another.

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

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// This many times as fast as it was recorded; a positive, finite number.
    Times(f64),
    /// As fast as the frames are taken.
    Max,
}

impl Default for Speed {
    fn default() -> Self {
        Self::Times(1.0)
    }
}

/// Why a recording could not be opened.
#[derive(Debug, Error)]
pub enum PcapError {
    /// The host does not open the file.
    #[error("cannot open `{path}`: {error}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The host's answer.
        error: io::Error,
    },
    /// A pipe or a device, on which the data plane could be made to wait.
    #[error("`{0}` is no regular file")]
    NotRegular(PathBuf),
    /// Replaying a file and recording into it.
    #[error("`{0}` cannot be replayed and recorded to at the same time")]
    SameFile(PathBuf),
    /// Not in the classic pcap format.
    #[error("`{0}` is no pcap file (pcapng is not read: `editcap -F pcap` converts it)")]
    Format(PathBuf),
    /// Not recorded on Ethernet.
    #[error("`{path}` has link type {link_type}: expected {LINKTYPE_ETHERNET} (Ethernet)")]
    LinkType {
        /// The file.
        path: PathBuf,
        /// The `LINKTYPE_*` value found.
        link_type: i32,
    },
}

/// A port that replays one recording and makes another.
///
/// The replay's clock starts with the first [`recv`](Port::recv), so the first frame is there at
/// once and the others follow at the recorded distances. A file that turns out to be malformed
/// ends the replay there with one [`RecvError::Io`]. The link is up unless what is sent cannot be
/// recorded, such as on a disk that is full; then each call of [`link`](Port::link) looks whether
/// there is room again.
pub struct Pcap {
    name: String,
    /// Why nothing can be recorded, while it cannot.
    trouble: Option<String>,
    replay: Option<Replay>,
    recorder: Option<Recorder>,
    counters: PortCounters,
}

impl Pcap {
    /// Opens `input` for replay, and makes `output`, replacing what it held.
    ///
    /// # Errors
    /// Says which file is no good and why.
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
            trouble: None,
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
        if self.trouble.is_some() {
            return Err(SendError::Down);
        }
        if let Some(recorder) = self.recorder.as_mut() {
            if let Err(error) = recorder.write(frame, len) {
                self.trouble = Some(format!("what is sent cannot be recorded: {error}"));
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
        if let (Some(trouble), Some(recorder)) = (&mut self.trouble, &self.recorder) {
            match recorder.has_room() {
                Ok(()) => self.trouble = None,
                Err(error) => *trouble = format!("what is sent cannot be recorded: {error}"),
            }
        }
        LinkState {
            up: self.trouble.is_none(),
            speed_mbps: DEFAULT_SPEED_MBPS,
        }
    }

    fn is_unwatched(&self) -> bool {
        self.recorder.is_some()
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn counters_mut(&mut self) -> &mut PortCounters {
        &mut self.counters
    }
}

/// Refuses what opening or using could wait on.
fn regular(path: &Path) -> Result<(), PcapError> {
    match fs::metadata(path) {
        Ok(file) if !file.is_file() => Err(PcapError::NotRegular(path.to_owned())),
        // What does not exist is for the caller to open or to make.
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
