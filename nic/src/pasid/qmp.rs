// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A lookup of the IOMMU's tables in QEMU, over its machine protocol (QMP).
//!
//! The root table's address is in a register of the emulated IOMMU, which only the human monitor
//! can read; the function's address on the bus is in `query-pci`. Each lookup uses a new
//! connection, so that other clients can use the socket in between, and QEMU may be restarted.
//!
//! QEMU's output is bounded in length and time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{connect, socket, AddressFamily, SocketAddrUnix, SocketType};
use serde_json::{json, Value};
use thiserror::Error;

use super::vtd;
use super::{Root, RootQuery};
use crate::logging::warn_throttled;
use crate::pci::PciId;

/// The maximum length of QEMU's output on one connection, in bytes.
const MAX_INPUT: u64 = 4 << 20;
/// The timeout of each of QEMU's messages.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The number of attempts of a lookup.
const ATTEMPTS: u32 = 3;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// The reason that a lookup failed.
#[derive(Debug, Error)]
pub enum QmpError {
    /// The socket cannot be used.
    #[error("the QMP socket cannot be used: {0}")]
    Io(io::Error),
    /// QEMU did not respond in time.
    #[error(
        "no response on the QMP socket within {} s: it serves one client at a time, so `adit-nic` \
         needs a socket of its own", TIMEOUT.as_secs()
    )]
    TimedOut,
    /// QEMU closed the connection, or sent more than `MAX_INPUT` bytes.
    #[error("QEMU closed the connection, or sent more than {MAX_INPUT} bytes")]
    End,
    /// QEMU sent a line that is not JSON, or not the expected message.
    #[error("QEMU sent a message that is not QMP: {0}")]
    Protocol(String),
    /// QEMU returned an error.
    #[error("QEMU rejected `{command}`: {reason}")]
    Refused {
        /// The command.
        command: &'static str,
        /// QEMU's description of the error.
        reason: String,
    },
    /// The IOMMU is off, or not in the mode that supports PASIDs.
    #[error("the guest's IOMMU is not in scalable mode (RTADDR is {0:#x}): boot it with intel_iommu=on,sm_on and QEMU with -device intel-iommu,scalable-mode=on")]
    NotScalable(u64),
    /// No function has our PCI IDs.
    #[error("the guest has no PCI function {0} on its root bus")]
    NoFunction(PciId),
    /// Several functions have our PCI IDs.
    #[error("the guest has {1} PCI functions {0}: name one with --requester-id")]
    Ambiguous(PciId, usize),
}

impl From<io::Error> for QmpError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The error kinds of the socket's timeout.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}

impl From<rustix::io::Errno> for QmpError {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

/// The parameters of the lookup.
#[derive(Clone, Debug)]
pub struct Qmp {
    /// QEMU's QMP socket.
    pub path: PathBuf,
    /// The function's PCI IDs, which identify it on the bus.
    pub pci_id: PciId,
    /// Its requester ID, if that is known.
    pub requester: Option<u16>,
}

impl Qmp {
    /// Serves lookups until the query is closed: calls `complete` with the era and the result of
    /// each.
    pub fn serve(&self, query: &RootQuery, mut complete: impl FnMut(u64, Option<Root>)) {
        while let Some(era) = query.wait() {
            let mut result = self.query();
            for _ in 1..ATTEMPTS {
                if result.is_ok() || query.closed() {
                    break;
                }
                std::thread::sleep(PAUSE);
                result = self.query();
            }
            match &result {
                Ok(root) => {
                    tracing::debug!(table = root.table, requester = root.requester, "IOMMU")
                }
                Err(error) => warn_throttled!(
                    path = %self.path.display(), %error,
                    "no ADI can be created: QEMU did not report where the IOMMU's tables are"
                ),
            }
            complete(era, result.ok());
        }
    }

    /// Performs one lookup.
    ///
    /// # Errors
    /// Fails when QEMU does not respond, or when its response cannot be used.
    pub fn query(&self) -> Result<Root, QmpError> {
        let mut session = Session::open(&self.path)?;
        let line = format!("xp /2wx {:#x}", vtd::RTADDR);
        let printed = session.command(
            "human-monitor-command",
            Some(json!({ "command-line": line })),
        )?;
        let register = printed.as_str().and_then(two_words);
        let register = register.ok_or_else(|| QmpError::Protocol(brief(&printed)))?;
        let mode = register >> vtd::RTADDR_MODE_SHIFT & vtd::RTADDR_MODE_MASK;
        if mode != vtd::RTADDR_MODE_SCALABLE {
            return Err(QmpError::NotScalable(register));
        }
        let requester = match self.requester {
            Some(requester) => requester,
            None => self.find(&session.command("query-pci", None)?)?,
        };
        Ok(Root {
            table: register & vtd::ADDRESS,
            requester,
        })
    }

    /// Finds our requester ID in the response to `query-pci`, on the root bus.
    fn find(&self, buses: &Value) -> Result<u16, QmpError> {
        let number = |value: &Value, key| value.get(key).and_then(Value::as_u64);
        let ours = |device: &&Value| {
            let id = &device["id"];
            number(id, "vendor") == Some(self.pci_id.vendor.into())
                && number(id, "device") == Some(self.pci_id.device.into())
        };
        let devices = buses.as_array().into_iter().flatten();
        let devices = devices
            .filter_map(|bus| bus["devices"].as_array())
            .flatten();
        let found: Vec<_> = devices.filter(ours).collect();
        let [device] = found[..] else {
            return Err(match found.len() {
                0 => QmpError::NoFunction(self.pci_id),
                n => QmpError::Ambiguous(self.pci_id, n),
            });
        };
        let address = ["bus", "slot", "function"].map(|key| number(device, key));
        match address {
            [Some(bus @ 0..=0xFF), Some(slot @ 0..=31), Some(function @ 0..=7)] => {
                Ok((bus << 8 | slot << 3 | function) as u16)
            }
            _ => Err(QmpError::Protocol(brief(device))),
        }
    }
}

/// Parses the 64-bit value that `xp /2wx` prints: `ADDRESS: 0xLOW 0xHIGH`.
fn two_words(printed: &str) -> Option<u64> {
    let (_, words) = printed.trim().split_once(':')?;
    let mut words = words.split_whitespace().map(|word| {
        let digits = word.strip_prefix("0x")?;
        u32::from_str_radix(digits, 16).ok()
    });
    let (low, high) = (words.next()??, words.next()??);
    words
        .next()
        .is_none()
        .then(|| u64::from(high) << 32 | u64::from(low))
}

/// The beginning of a message from QEMU, for an error.
fn brief(value: &Value) -> String {
    value.to_string().chars().take(100).collect()
}

/// A connection that accepts commands.
struct Session {
    reader: BufReader<io::Take<UnixStream>>,
    deadline: Instant,
}

impl Session {
    fn open(path: &Path) -> Result<Self, QmpError> {
        let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        // The send timeout also covers connecting; the socket may have another client.
        set_socket_timeout(&fd, Timeout::Send, Some(TIMEOUT))?;
        set_socket_timeout(&fd, Timeout::Recv, Some(TIMEOUT))?;
        connect(&fd, &SocketAddrUnix::new(path)?)?;
        let mut session = Self {
            reader: BufReader::new(UnixStream::from(fd).take(MAX_INPUT)),
            deadline: Instant::now() + TIMEOUT,
        };
        let greeting = session.message()?;
        if greeting.get("QMP").is_none() {
            return Err(QmpError::Protocol(brief(&greeting)));
        }
        session.command("qmp_capabilities", None)?;
        Ok(session)
    }

    fn command(
        &mut self,
        command: &'static str,
        arguments: Option<Value>,
    ) -> Result<Value, QmpError> {
        let mut request = json!({ "execute": command });
        if let Some(arguments) = arguments {
            request["arguments"] = arguments;
        }
        self.deadline = Instant::now() + TIMEOUT;
        let line = format!("{request}\n");
        let mut stream: &UnixStream = self.reader.get_ref().get_ref();
        stream.write_all(line.as_bytes())?;
        loop {
            let mut message = self.message()?;
            if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = message.get("error") {
                let reason = brief(&error["desc"]);
                return Err(QmpError::Refused { command, reason });
            }
            // Events are sent at any time.
            if message.get("event").is_none() {
                return Err(QmpError::Protocol(brief(&message)));
            }
        }
    }

    fn message(&mut self) -> Result<Value, QmpError> {
        let mut line = Vec::new();
        // Read piecewise, so that the deadline also applies to a peer that sends a byte now and
        // then.
        while line.last() != Some(&b'\n') {
            if Instant::now() > self.deadline {
                return Err(QmpError::TimedOut);
            }
            let available = self.reader.fill_buf()?;
            if available.is_empty() {
                return Err(QmpError::End);
            }
            let end = available.iter().position(|&byte| byte == b'\n');
            let used = end.map_or(available.len(), |at| at + 1);
            line.extend_from_slice(&available[..used]);
            self.reader.consume(used);
        }
        serde_json::from_slice(&line)
            .map_err(|_| QmpError::Protocol(brief(&String::from_utf8_lossy(&line).into())))
    }
}

#[cfg(test)]
mod tests;
