// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The heads of responses.

use std::io::Write as _;

use crate::Counters;

/// A status code with its phrase (RFC 9110, section 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u16, pub(crate) &'static str);

pub(crate) const OK: Status = Status(200, "OK");
pub(crate) const MOVED: Status = Status(301, "Moved Permanently");
pub(crate) const NOT_MODIFIED: Status = Status(304, "Not Modified");
pub(crate) const BAD_REQUEST: Status = Status(400, "Bad Request");
pub(crate) const NOT_FOUND: Status = Status(404, "Not Found");
pub(crate) const NOT_ALLOWED: Status = Status(405, "Method Not Allowed");
pub(crate) const TIMEOUT: Status = Status(408, "Request Timeout");
pub(crate) const LENGTH_REQUIRED: Status = Status(411, "Length Required");
pub(crate) const TOO_LARGE: Status = Status(413, "Content Too Large");
pub(crate) const EXPECTATION: Status = Status(417, "Expectation Failed");
pub(crate) const FIELDS_TOO_LARGE: Status = Status(431, "Request Header Fields Too Large");
pub(crate) const NOT_IMPLEMENTED: Status = Status(501, "Not Implemented");
pub(crate) const VERSION: Status = Status(505, "HTTP Version Not Supported");

/// The fate of the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Keep,
    /// Kept, for a client of HTTP/1.0.
    KeepOld,
    Close,
}

/// Appends a head; `fields` are further fields, each with its end of line. `len` is the Content-Length.
pub(crate) fn head(
    out: &mut Vec<u8>,
    status: Status,
    (date, after): (&str, After),
    fields: &str,
    len: Option<u64>,
    counters: &Counters,
) {
    let class = match status.0 {
        200..300 => &counters.responses_2xx,
        300..400 => &counters.responses_3xx,
        400..500 => &counters.responses_4xx,
        _ => &counters.responses_5xx,
    };
    class.add(1);
    out.extend_from_slice(b"HTTP/1.1 ");
    // Writing to a vector does not fail.
    let _ = write!(out, "{} ", status.0);
    for part in [status.1, "\r\nServer: adit\r\nDate: ", date, "\r\n", fields] {
        out.extend_from_slice(part.as_bytes());
    }
    if let Some(len) = len {
        let _ = write!(out, "Content-Length: {len}\r\n");
    }
    out.extend_from_slice(match after {
        After::Keep => b"\r\n",
        After::KeepOld => b"Connection: keep-alive\r\n\r\n",
        After::Close => b"Connection: close\r\n\r\n",
    });
}
