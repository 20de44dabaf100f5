// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `--wire` arguments.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use super::pcap::{Pcap, PcapError, Speed};
use super::port::Port;
use super::tap::{interface_name, Tap, TapError};
use super::unix::{Unix, UnixError};

/// The backend at the other end of a port's wire.
#[derive(Clone, Debug, PartialEq)]
pub enum WireSpec {
    /// `none`: no wire. The link is down.
    None,
    /// `tap:NAME`: a TAP device.
    Tap(String),
    /// `unix:PATH`: one of the two ends of a wire that is identified by a path.
    UnixEither(PathBuf),
    /// `unix:LOCAL,REMOTE`: a datagram socket at each of two paths.
    Unix {
        /// The path at which the port receives.
        local: PathBuf,
        /// The path to which it sends.
        remote: PathBuf,
    },
    /// `pcap:IN,OUT[,speed=FACTOR|max]`: a capture to replay, a file to record to.
    Pcap {
        /// The file to replay.
        input: Option<PathBuf>,
        /// The file to record to.
        output: Option<PathBuf>,
        /// The speed of the replay.
        speed: Speed,
    },
}

/// The reason that a `--wire` argument is invalid.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WireSpecError {
    /// The kind before the colon is unknown.
    #[error(
        "`{0}` is not a wire: expected `tap:NAME`, `unix:PATH`, `unix:LOCAL,REMOTE`, \
         `pcap:IN,OUT[,speed=FACTOR|max]` or `none`"
    )]
    Kind(String),
    /// The interface name is invalid.
    #[error(
        "`{0}` is not an interface name: 1 to 15 bytes, none of them `/`, `%`, `:`, `,` or a space, \
         and not `.` or `..`"
    )]
    Interface(String),
    /// The paths of the UNIX sockets are invalid.
    #[error("`unix:{0}`: expected one path, or two different ones with a comma between them")]
    Unix(String),
    /// The files of a capture are invalid.
    #[error(
        "`pcap:{0}`: expected two different files with a comma between them, `-` for none, and \
         then at most `,speed=max` or `,speed=FACTOR`"
    )]
    Pcap(String),
    /// The replay speed is invalid.
    #[error("`speed={0}`: expected `max`, or a factor from {MIN_FACTOR} to {MAX_FACTOR}")]
    Speed(String),
}

const MIN_FACTOR: f64 = 0.001;
const MAX_FACTOR: f64 = 1000.0;

/// The reason that a port could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// An error of a TAP device.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// An error of a UNIX socket.
    #[error(transparent)]
    Unix(#[from] UnixError),
    /// An error of a capture.
    #[error(transparent)]
    Pcap(#[from] PcapError),
}

impl WireSpec {
    /// Opens the port; returns `None` when there is no wire.
    ///
    /// # Errors
    /// Fails when the backend cannot be opened, with its name and the reason.
    pub fn open(&self) -> Result<Option<Box<dyn Port>>, OpenError> {
        Ok(match self {
            Self::None => None,
            Self::Tap(name) => Some(Box::new(Tap::open(name)?)),
            Self::UnixEither(path) => Some(Box::new(Unix::open_either_end(path)?)),
            Self::Unix { local, remote } => Some(Box::new(Unix::open(local, remote)?)),
            Self::Pcap {
                input,
                output,
                speed,
            } => Some(Box::new(Pcap::open(
                input.as_deref(),
                output.as_deref(),
                *speed,
            )?)),
        })
    }
}

impl WireSpec {
    /// Opens the port over the [lifeline](Port::lifeline) of one that an ended process has opened by
    /// the same specification.
    ///
    /// # Errors
    /// Fails when the backend cannot be opened, with its name and the reason.
    pub fn adopt(&self, lifeline: OwnedFd) -> Result<Option<Box<dyn Port>>, OpenError> {
        match self {
            Self::Tap(name) => Ok(Some(Box::new(Tap::adopt(name, lifeline)?))),
            Self::UnixEither(path) => self.adopted(Unix::adopt_either_end(lifeline, path)?),
            Self::Unix { local, remote } => {
                let name = format!("unix:{},{}", local.display(), remote.display());
                self.adopted(Unix::adopt(lifeline, &name, [local, remote])?)
            }
            Self::None | Self::Pcap { .. } => self.open(),
        }
    }
}

impl WireSpec {
    /// A port that was taken over, or one that is opened.
    fn adopted(&self, port: Option<Unix>) -> Result<Option<Box<dyn Port>>, OpenError> {
        match port {
            Some(port) => Ok(Some(Box::new(port))),
            None => self.open(),
        }
    }
}

impl FromStr for WireSpec {
    type Err = WireSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::None);
        }
        match text.split_once(':') {
            Some(("tap", name)) if interface_name(name).is_some() => Ok(Self::Tap(name.to_owned())),
            Some(("tap", name)) => Err(WireSpecError::Interface(name.to_owned())),
            Some(("unix", paths)) => unix(paths),
            Some(("pcap", files)) => pcap(files),
            _ => Err(WireSpecError::Kind(text.to_owned())),
        }
    }
}

fn unix(text: &str) -> Result<WireSpec, WireSpecError> {
    match text.split(',').collect::<Vec<_>>()[..] {
        [path] if !path.is_empty() => Ok(WireSpec::UnixEither(path.into())),
        [local, remote] if !local.is_empty() && !remote.is_empty() && local != remote => {
            Ok(WireSpec::Unix {
                local: local.into(),
                remote: remote.into(),
            })
        }
        _ => Err(WireSpecError::Unix(text.to_owned())),
    }
}

fn pcap(text: &str) -> Result<WireSpec, WireSpecError> {
    let malformed = || WireSpecError::Pcap(text.to_owned());
    let (input, output, speed) = match text.split(',').collect::<Vec<_>>()[..] {
        [input, output] => (input, output, Speed::default()),
        [input, output, option] => {
            let value = option.strip_prefix("speed=").ok_or_else(malformed)?;
            (input, output, parse_speed(value)?)
        }
        _ => return Err(malformed()),
    };
    if input.is_empty() || output.is_empty() || (input == output && input != "-") {
        return Err(malformed());
    }
    let file = |name: &str| (name != "-").then(|| PathBuf::from(name));
    Ok(WireSpec::Pcap {
        input: file(input),
        output: file(output),
        speed,
    })
}

fn parse_speed(text: &str) -> Result<Speed, WireSpecError> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse() {
        Ok(factor) if (MIN_FACTOR..=MAX_FACTOR).contains(&factor) => Ok(Speed::Times(factor)),
        _ => Err(WireSpecError::Speed(text.to_owned())),
    }
}

impl fmt::Display for WireSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Tap(name) => write!(f, "tap:{name}"),
            Self::UnixEither(path) => write!(f, "unix:{}", path.display()),
            Self::Unix { local, remote } => {
                write!(f, "unix:{},{}", local.display(), remote.display())
            }
            Self::Pcap {
                input,
                output,
                speed,
            } => {
                let file = |file: &Option<PathBuf>| {
                    file.as_ref()
                        .map_or("-".to_owned(), |path| path.display().to_string())
                };
                write!(f, "pcap:{},{}", file(input), file(output))?;
                match speed {
                    Speed::Max => f.write_str(",speed=max"),
                    Speed::Times(1.0) => Ok(()),
                    Speed::Times(factor) => write!(f, ",speed={factor}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood_is_shown_the_same() {
        for text in [
            "none",
            "tap:wire0",
            "unix:/run/wire.sock",
            "unix:a.sock,b.sock",
            "pcap:in.pcap,out.pcap",
            "pcap:-,out.pcap",
            "pcap:in.pcap,-,speed=max",
            "pcap:-,-",
            "pcap:in.pcap,-,speed=2.5",
        ] {
            assert_eq!(text.parse::<WireSpec>().unwrap().to_string(), text);
        }
        let replay = WireSpec::Pcap {
            input: Some("in".into()),
            output: None,
            speed: Speed::Times(1.0),
        };
        assert_eq!("pcap:in,-".parse(), Ok(replay));
    }

    #[test]
    fn what_is_not_is_refused_in_one_line() {
        for text in [
            "",
            "tap",
            "tap:",
            "tap:a/b",
            "tap:sixteen-bytes-xx",
            "tap:a,b",
            "veth:x",
            "none:",
            "unix:",
            "unix:a,",
            "unix:,b",
            "unix:a,a",
            "unix:a,b,c",
            "pcap:",
            "pcap:in",
            "pcap:a,a",
            "pcap:a,",
            "pcap:a,b,c",
            "pcap:a,b,speed=",
            "pcap:a,b,speed=0",
            "pcap:a,b,speed=-1",
            "pcap:a,b,speed=nan",
            "pcap:a,b,speed=inf",
            "pcap:a,b,speed=1,x",
        ] {
            let error = text.parse::<WireSpec>().unwrap_err().to_string();
            assert!(!error.contains('\n') && error.contains("expected") || error.contains("bytes"));
        }
    }
}
