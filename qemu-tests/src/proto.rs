// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Frames on the channel between the host and the agent in the guest.
//!
//! One virtio-serial port carries every command in both directions: the host runs commands in the
//! guest, the guest runs commands on the host's end of the wire. A frame is `channel: u32, kind:
//! u8, length: u32` (little endian) followed by `length` bytes. This file is compiled twice, in
//! this crate and (alone, without any dependency) in the agent.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

/// Maximum length of a frame's data; a longer one means that the stream is out of sync.
pub const MAX_DATA: usize = 1 << 20;

/// Bit of the channels that the guest opened, so that the two sides never choose the same one.
pub const GUEST_CHANNEL: u32 = 1 << 31;

/// Number of times that a pipe without output may delay the exit status of a command that ended, each by
/// [`LOOK`]: a background process that inherited the pipe must not block it forever. Several short
/// times: the thread that reads the pipe runs between two of them, also if the machine stood still.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(50);

/// Type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The agent is up.
    Hello = 0,
    /// Runs a command: its words, each ended by a NUL byte.
    Run = 1,
    /// Bytes for the command's standard input; an empty frame closes it.
    Stdin = 2,
    /// Bytes of its standard output.
    Stdout = 3,
    /// Bytes of its standard error.
    Stderr = 4,
    /// The command exited: status as an `i32`.
    Exit = 5,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Hello,
            Self::Run,
            Self::Stdin,
            Self::Stdout,
            Self::Stderr,
            Self::Exit,
        ]
        .into_iter()
        .find(|&kind| kind as u8 == byte)
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The channel of the command that it belongs to.
    pub channel: u32,
    /// Its type.
    pub kind: Kind,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Frame {
    /// Creates a frame of these parts.
    pub fn new(channel: u32, kind: Kind, data: impl Into<Vec<u8>>) -> Self {
        Self {
            channel,
            kind,
            data: data.into(),
        }
    }

    /// Returns the exit status in an [`Kind::Exit`] frame.
    pub fn status(&self) -> Option<i32> {
        Some(i32::from_le_bytes(self.data.as_slice().try_into().ok()?))
    }

    /// Reads one frame; `None` at the end of the stream.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; 9];
        match from.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = word(5) as usize;
        let kind = Kind::from_byte(head[4])
            .filter(|_| length <= MAX_DATA)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("no frame of ours: {head:02x?}"),
                )
            })?;
        let mut data = vec![0; length];
        from.read_exact(&mut data)?;
        Ok(Some(Self {
            channel: word(0),
            kind,
            data,
        }))
    }

    /// Writes it with one call, so that a shared writer needs one lock per frame.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(9 + self.data.len());
        bytes.extend_from_slice(&self.channel.to_le_bytes());
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&(self.data.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.data);
        to.write_all(&bytes)?;
        to.flush()
    }
}

/// Returns a command's words as the bytes of a [`Kind::Run`] frame.
pub fn pack_words<S: AsRef<str>>(words: &[S]) -> Vec<u8> {
    words
        .iter()
        .flat_map(|word| word.as_ref().bytes().chain([0]))
        .collect()
}

/// Returns the words of a [`Kind::Run`] frame.
pub fn unpack_words(data: &[u8]) -> Vec<String> {
    let mut words: Vec<String> = data
        .split(|&byte| byte == 0)
        .map(|word| String::from_utf8_lossy(word).into())
        .collect();
    words.pop();
    words
}

/// Returns the status as in a shell: 128 plus the signal for a command that was killed.
pub fn shell_status(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A writer that several commands share.
pub type SharedWriter = Arc<Mutex<Box<dyn Write + Send>>>;

/// Writes one frame; errors are ignored here, since a closed peer is noticed when frames are read.
pub fn send(to: &SharedWriter, frame: &Frame) {
    if let Ok(mut to) = to.lock() {
        let _ = frame.write(&mut *to);
    }
}

/// Starts `command` and sends its output and exit status on `channel`. The returned sender takes
/// its standard input.
pub fn execute(
    mut command: Command,
    channel: u32,
    to: &SharedWriter,
) -> Option<mpsc::Sender<Vec<u8>>> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let text = format!("{}: {error}\n", command.get_program().to_string_lossy());
            send(to, &Frame::new(channel, Kind::Stderr, text));
            send(to, &Frame::new(channel, Kind::Exit, 127i32.to_le_bytes()));
            return None;
        }
    };
    let (input, stdin_bytes) = mpsc::channel::<Vec<u8>>();
    if let Some(mut stdin) = child.stdin.take() {
        std::thread::spawn(move || {
            for bytes in stdin_bytes {
                if bytes.is_empty() || stdin.write_all(&bytes).is_err() {
                    break;
                }
            }
        });
    }
    let to = Arc::clone(to);
    std::thread::spawn(move || watch(child, channel, &to));
    Some(input)
}

fn watch(mut child: Child, channel: u32, to: &SharedWriter) {
    let (done, drained) = mpsc::channel::<()>();
    if let Some(pipe) = child.stdout.take() {
        pump(pipe, channel, Kind::Stdout, to, done.clone());
    }
    if let Some(pipe) = child.stderr.take() {
        pump(pipe, channel, Kind::Stderr, to, done.clone());
    }
    drop(done);
    let status = child.wait().map_or(126, shell_status);
    // A pump reports data that it forwarded, and drops its sender at the end of its pipe.
    let mut idle = 0;
    while idle < LOOKS {
        match drained.recv_timeout(LOOK) {
            Ok(()) => idle = 0,
            Err(mpsc::RecvTimeoutError::Timeout) => idle += 1,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    send(to, &Frame::new(channel, Kind::Exit, status.to_le_bytes()));
}

fn pump(
    mut pipe: impl Read + Send + 'static,
    channel: u32,
    kind: Kind,
    to: &SharedWriter,
    done: mpsc::Sender<()>,
) {
    let to = Arc::clone(to);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            send(&to, &Frame::new(channel, kind, &buffer[..length]));
            let _ = done.send(());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_way() {
        let frame = Frame::new(7 | GUEST_CHANNEL, Kind::Run, pack_words(&["ip", "", "a b"]));
        let mut bytes = Vec::new();
        frame.write(&mut bytes).expect("a vector takes all");
        let mut from = bytes.as_slice();
        assert_eq!(
            Frame::read(&mut from).expect("well-formed"),
            Some(frame.clone())
        );
        assert_eq!(Frame::read(&mut from).expect("at the end"), None);
        assert_eq!(unpack_words(&frame.data), ["ip", "", "a b"]);
    }

    #[test]
    fn a_stream_out_of_step_is_refused() {
        assert!(Frame::read(&mut [0, 0, 0, 0, 99, 0, 0, 0, 0].as_slice()).is_err());
        assert!(Frame::read(&mut [0, 0, 0, 0, 3, 255, 255, 255, 255].as_slice()).is_err());
    }

    #[test]
    fn a_command_is_run_and_its_status_sent() {
        let (read, write) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
        let to: SharedWriter = Arc::new(Mutex::new(Box::new(write)));
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo err >&2; exit 3"]);
        let input = execute(command, 5, &to).expect("sh starts");
        input.send(b"hello".to_vec()).expect("the command lives");
        input.send(Vec::new()).expect("the command lives");
        let mut read = read;
        let mut output = (Vec::new(), Vec::new());
        loop {
            let frame = Frame::read(&mut read)
                .expect("well-formed")
                .expect("not ended");
            match frame.kind {
                Kind::Stdout => output.0.extend(frame.data),
                Kind::Stderr => output.1.extend(frame.data),
                Kind::Exit => break assert_eq!(frame.status(), Some(3)),
                kind => panic!("{kind:?} is not expected"),
            }
        }
        assert_eq!(output, (b"hello".to_vec(), b"err\n".to_vec()));
    }
}
