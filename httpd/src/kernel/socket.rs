// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A connection's socket, and the bytes between it and the session.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::Stream;

/// Bytes of each connection's buffers: those of a stack on an ADI by default.
const RECEIVE: usize = 8 << 10;
const SEND: usize = 32 << 10;

pub(super) struct Socket {
    pub(super) stream: TcpStream,
    received: Box<[u8]>,
    start: usize,
    end: usize,
    at_end: bool,
    out: Box<[u8]>,
    out_start: usize,
    out_end: usize,
}

impl Stream for Socket {
    fn receive(&mut self, f: impl FnOnce(&[u8]) -> usize) -> usize {
        let bytes = &self.received[self.start..self.end];
        if bytes.is_empty() {
            return 0;
        }
        let taken = f(bytes).min(bytes.len());
        self.start += taken;
        taken
    }

    fn received(&self) -> usize {
        self.end - self.start
    }

    fn is_at_end(&self) -> bool {
        self.at_end && self.start == self.end
    }

    fn send(&mut self, f: impl FnOnce(&mut [u8]) -> usize) -> usize {
        if self.out_start == self.out_end {
            (self.out_start, self.out_end) = (0, 0);
        }
        let space = &mut self.out[self.out_end..];
        if space.is_empty() {
            return 0;
        }
        let written = f(space).min(space.len());
        self.out_end += written;
        written
    }
}

impl Socket {
    /// Takes a socket that does not block.
    pub(super) fn new(stream: TcpStream) -> Self {
        let buffer = |len| vec![0; len].into_boxed_slice();
        Self {
            stream,
            received: buffer(RECEIVE),
            start: 0,
            end: 0,
            at_end: false,
            out: buffer(SEND),
            out_start: 0,
            out_end: 0,
        }
    }

    /// Reads what is there, as far as there is space. Returns whether there may be more.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.received.len() {
            self.received.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.at_end || self.end == self.received.len() {
            return Ok(false);
        }
        let space = self.received.len() - self.end;
        match self.stream.read(&mut self.received[self.end..]) {
            Ok(0) => {
                self.at_end = true;
                Ok(false)
            }
            Ok(len) => {
                self.end += len;
                Ok(len == space)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Discards what is received, so that the peer's end is seen. Returns whether it is.
    pub(super) fn discard(&mut self) -> io::Result<bool> {
        self.start = self.end;
        self.fill()?;
        self.start = self.end;
        Ok(self.at_end)
    }

    /// Returns the number of bytes that are to be written.
    pub(super) fn unsent(&self) -> usize {
        self.out_end - self.out_start
    }

    /// Writes what is to be sent. Returns whether all of it was taken.
    pub(super) fn drain(&mut self) -> io::Result<bool> {
        while self.out_start < self.out_end {
            match self.stream.write(&self.out[self.out_start..self.out_end]) {
                Ok(len) => self.out_start += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
