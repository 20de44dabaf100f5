// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host's end of the channel to the guest's agent.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{mpsc, Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::proto::{pack_words, send, unpack_words, Frame, Kind, SharedWriter, GUEST_CHANNEL};
use crate::wire::Wire;

type Waiting = Arc<Mutex<HashMap<u32, mpsc::Sender<Frame>>>>;

/// A connection to the agent.
#[derive(Clone)]
pub struct Link {
    to: SharedWriter,
    waiting: Waiting,
    next: Arc<Mutex<u32>>,
}

/// A command that runs in the guest.
pub struct Remote {
    /// Its output and exit status.
    pub frames: mpsc::Receiver<Frame>,
    to: SharedWriter,
    channel: u32,
}

impl Remote {
    /// Sends bytes to its standard input; an empty slice closes it.
    pub fn input(&self, bytes: &[u8]) {
        send(&self.to, &Frame::new(self.channel, Kind::Stdin, bytes));
    }

    /// Returns a function like [`Self::input`] that can be moved to another thread.
    pub fn input_handle(&self) -> impl Fn(&[u8]) + Send + 'static {
        let (to, channel) = (Arc::clone(&self.to), self.channel);
        move |bytes| send(&to, &Frame::new(channel, Kind::Stdin, bytes))
    }
}

impl Link {
    /// Connects to QEMU's end of the virtio-serial port. The returned receiver gets the guest's
    /// kernel release when the agent is up, at every boot.
    pub fn connect(
        socket: &Path,
        wire: Arc<Wire>,
        timeout: Duration,
    ) -> Result<(Self, mpsc::Receiver<String>)> {
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if start.elapsed() > timeout => {
                    bail!("QEMU does not offer {} ({error})", socket.display())
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let mut from = stream
            .try_clone()
            .context("cannot share the agent's socket")?;
        let link = Self {
            to: Arc::new(Mutex::new(Box::new(stream))),
            waiting: Waiting::default(),
            next: Arc::default(),
        };
        let (hello, greeted) = mpsc::channel();
        let (to, waiting) = (Arc::clone(&link.to), Arc::clone(&link.waiting));
        std::thread::spawn(move || {
            while let Ok(Some(frame)) = Frame::read(&mut from) {
                match frame.kind {
                    Kind::Hello => {
                        // Requests of an earlier boot will get no reply.
                        if let Ok(mut waiting) = waiting.lock() {
                            waiting.clear();
                        }
                        let release = String::from_utf8_lossy(&frame.data).trim().to_owned();
                        let _ = hello.send(release);
                    }
                    Kind::Run if frame.channel & GUEST_CHANNEL != 0 => {
                        wire.request(&unpack_words(&frame.data), frame.channel, &to);
                    }
                    Kind::Stdout | Kind::Stderr | Kind::Exit => deliver(&waiting, frame),
                    Kind::Run | Kind::Stdin => {}
                }
            }
            // There will be no further replies: receivers see their senders dropped.
            if let Ok(mut waiting) = waiting.lock() {
                waiting.clear();
            }
        });
        Ok((link, greeted))
    }

    /// Starts a command in the guest.
    pub fn run<S: AsRef<str>>(&self, words: &[S]) -> Remote {
        let (sender, frames) = mpsc::channel();
        let channel = self.next.lock().map_or(0, |mut next| {
            *next += 1;
            *next
        });
        if let Ok(mut waiting) = self.waiting.lock() {
            waiting.insert(channel, sender);
        }
        send(&self.to, &Frame::new(channel, Kind::Run, pack_words(words)));
        Remote {
            frames,
            to: Arc::clone(&self.to),
            channel,
        }
    }
}

fn deliver(waiting: &Waiting, frame: Frame) {
    let Ok(mut waiting) = waiting.lock() else {
        return;
    };
    let (channel, last) = (frame.channel, frame.kind == Kind::Exit);
    let gone = waiting
        .get(&channel)
        .is_some_and(|to| to.send(frame).is_err());
    if last || gone {
        waiting.remove(&channel);
    }
}
