// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Payloads of scripts.

use std::net::IpAddr;

use adit_conntrack::Family;
use anyhow::{bail, Context, Result};

use super::line::Line;
use super::Script;

/// The end of a message's headers.
const EMPTY_LINE: &[u8] = b"\r\n\r\n";

impl Script {
    /// The payload of a packet: `len=N` times `byte`, or `text=TEXT`. A text has no blanks: `\s` is one,
    /// `\r` and `\n` are the ends of lines, `\xHH` is a byte. `{L1}` is the address of a host, `{L1,}`
    /// that with commas, `{L1=}` that as a number, `{L1]}` that in brackets if it is of IPv6. `{ip}` is IP4 or
    /// IP6, `{body}` the number of bytes behind the first empty line. `pad=N` makes N bytes of it.
    pub(super) fn payload(&self, line: &Line<'_>, octet: u8) -> Result<Vec<u8>> {
        let Some(text) = line.value("text") else {
            return Ok(vec![octet; line.number("len", 0)?]);
        };
        let mut payload = Vec::new();
        let mut length_at = None;
        let mut rest = text;
        while let Some(at) = rest.find(['\\', '{']) {
            payload.extend(rest[..at].bytes());
            let is_escape = rest.as_bytes()[at] == b'\\';
            rest = &rest[at + 1..];
            if is_escape {
                rest = escape(rest, &mut payload)?;
            } else {
                let (name, after) = rest.split_once('}').context("{ without }")?;
                match name {
                    "body" => length_at = Some(payload.len()),
                    "ip" if self.family == Family::V4 => payload.extend(b"IP4"),
                    "ip" => payload.extend(b"IP6"),
                    host => payload.extend(self.address(host)?.bytes()),
                }
                rest = after;
            }
        }
        payload.extend(rest.bytes());
        if let Some(at) = length_at {
            let mut windows = payload.windows(EMPTY_LINE.len());
            let headers = windows.position(|window| window == EMPTY_LINE);
            let end = headers.context("{body} without an empty line")? + EMPTY_LINE.len();
            let length = (payload.len() - end).to_string();
            payload.splice(at..at, length.bytes());
        }
        let padded = line.number("pad", payload.len())?;
        payload.resize(padded, 0);
        Ok(payload)
    }

    /// An address as text.
    fn address(&self, host: &str) -> Result<String> {
        if let Some(host) = host.strip_suffix(',') {
            return Ok(self.host(host)?.to_string().replace('.', ","));
        }
        if let Some(host) = host.strip_suffix('=') {
            return match self.host(host)? {
                IpAddr::V4(address) => Ok(u32::from(address).to_string()),
                IpAddr::V6(address) => bail!("{address} is not of IPv4"),
            };
        }
        if let Some(host) = host.strip_suffix(']') {
            return Ok(match self.host(host)? {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            });
        }
        Ok(self.host(host)?.to_string())
    }
}

/// Takes an escape, whose backslash has been read. Returns what follows.
fn escape<'a>(text: &'a str, payload: &mut Vec<u8>) -> Result<&'a str> {
    let kind = text.get(..1).context("escape at the end")?;
    let (octet, length) = match kind {
        "s" => (b' ', 1),
        "r" => (b'\r', 1),
        "n" => (b'\n', 1),
        "x" => {
            let digits = text.get(1..3).context("\\x without two digits")?;
            (u8::from_str_radix(digits, 16).context("\\x")?, 3)
        }
        other => bail!("`\\{other}' is no escape"),
    };
    payload.push(octet);
    Ok(&text[length..])
}
