// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The head of a request, parsed with httparse.

use crate::limits::MAX_FIELDS;

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Other,
}

/// A head; it borrows the received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub(crate) method: Method,
    pub(crate) target: &'a str,
    /// Set if the client accepts further responses on this connection.
    pub(crate) keep_alive: bool,
    /// Set for HTTP/1.0, which has to be told that the connection is kept.
    pub(crate) is_old: bool,
    /// The length of the body.
    pub(crate) content_length: u64,
    /// Set if the client waits for 100 (Continue) before it sends the body.
    pub(crate) expects_continue: bool,
    /// The field If-None-Match.
    pub(crate) if_none_match: Option<&'a [u8]>,
}

/// The reason to refuse a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// It is not HTTP/1.1, or ambiguous.
    Syntax,
    /// It has too many fields.
    Fields,
    /// Another version of HTTP.
    Version,
    /// A body in chunks, whose length is unknown.
    Chunked,
    /// A body in another coding.
    Coding,
    /// An expectation other than 100-continue.
    Expectation,
}

/// Reads a head at the start of `bytes`. Returns it with its length; `None` if it is not complete.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Head<'_>, usize)>, Bad> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Bad::Fields),
        Err(httparse::Error::Version) => return Err(Bad::Version),
        Err(_) => return Err(Bad::Syntax),
    };
    let is_old = request.version == Some(0);
    let mut head = Head {
        method: match request.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            _ => Method::Other,
        },
        target: request.path.ok_or(Bad::Syntax)?,
        keep_alive: !is_old,
        is_old,
        content_length: 0,
        expects_continue: false,
        if_none_match: None,
    };
    let (mut hosts, mut length, mut coding) = (0, None, None);
    for field in request.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("host") {
            hosts += 1;
        } else if is("content-length") {
            // Two lengths let two servers see two different requests (RFC 9112, section 6.3).
            if length.is_some() {
                return Err(Bad::Syntax);
            }
            length = Some(number(field.value)?);
        } else if is("transfer-encoding") {
            coding = Some(field.value);
        } else if is("connection") {
            for option in field.value.split(|byte| *byte == b',') {
                let option = option.trim_ascii();
                if option.eq_ignore_ascii_case(b"close") {
                    head.keep_alive = false;
                } else if is_old && option.eq_ignore_ascii_case(b"keep-alive") {
                    head.keep_alive = true;
                }
            }
        } else if is("expect") {
            if !field.value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Bad::Expectation);
            }
            head.expects_continue = !is_old;
        } else if is("if-none-match") {
            head.if_none_match = Some(field.value);
        }
    }
    if hosts > 1 || (hosts == 0 && !is_old) {
        return Err(Bad::Syntax);
    }
    if let Some(coding) = coding {
        if length.is_some() || is_old {
            return Err(Bad::Syntax);
        }
        let chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Err(if chunked { Bad::Chunked } else { Bad::Coding });
    }
    head.content_length = length.unwrap_or(0);
    Ok(Some((head, len)))
}

/// Reads a Content-Length: digits and nothing else.
fn number(value: &[u8]) -> Result<u64, Bad> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or(Bad::Syntax)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(text: &str) -> String {
        format!("POST /a HTTP/1.1\r\nHost: h\r\n{text}\r\n")
    }

    #[test]
    fn a_head_is_read() {
        let text = "GET /x?y HTTP/1.1\r\nhost: h\r\nConnection: foo, Close\r\nIf-None-Match: \"1\"\r\n\r\nrest";
        let (head, len) = read(text.as_bytes()).unwrap().unwrap();
        assert_eq!(
            (head.method, head.target, head.keep_alive),
            (Method::Get, "/x?y", false)
        );
        assert_eq!(head.if_none_match, Some(&b"\"1\""[..]));
        assert_eq!(&text[len..], "rest");
        for cut in 0..len {
            assert_eq!(read(&text.as_bytes()[..cut]).unwrap(), None, "{cut}");
        }
    }

    #[test]
    fn connections_are_kept_by_version_and_option() {
        for (text, kept) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", true),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                false,
            ),
        ] {
            assert_eq!(
                read(text.as_bytes()).unwrap().unwrap().0.keep_alive,
                kept,
                "{text}"
            );
        }
    }

    #[test]
    fn ambiguous_and_unsupported_heads_are_refused() {
        for (text, why) in [
            (
                fields("Content-Length: 1\r\nContent-Length: 1\r\n"),
                Bad::Syntax,
            ),
            (fields("Content-Length: +1\r\n"), Bad::Syntax),
            (fields("Content-Length: 1, 1\r\n"), Bad::Syntax),
            (fields("Content-Length: \r\n"), Bad::Syntax),
            (
                fields("Content-Length: 99999999999999999999\r\n"),
                Bad::Syntax,
            ),
            (
                fields("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
                Bad::Syntax,
            ),
            (fields("Transfer-Encoding: chunked\r\n"), Bad::Chunked),
            (fields("Transfer-Encoding: gzip, chunked\r\n"), Bad::Coding),
            (fields("Content-Length : 1\r\n"), Bad::Syntax),
            (fields("Host: other\r\n"), Bad::Syntax),
            (fields("Expect: miracles\r\n"), Bad::Expectation),
            (fields(" folded: 1\r\n"), Bad::Syntax),
            ("GET / HTTP/1.1\r\n\r\n".into(), Bad::Syntax),
            ("GET / HTTP/2.0\r\nHost: h\r\n\r\n".into(), Bad::Version),
            (fields(&"A: b\r\n".repeat(MAX_FIELDS)), Bad::Fields),
        ] {
            assert_eq!(read(text.as_bytes()), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_do_not_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        /// The meaning of a head does not depend on how much of it was there before.
        #[test]
        fn a_head_has_no_other_meaning_in_pieces(text in "(GET|POST|X) /[a-z%?]{0,9} HTTP/1.[01]\r\n(Host: h\r\n)?([A-Za-z-]{1,18}: [ -~]{0,9}\r\n){0,4}\r\n") {
            let whole = read(text.as_bytes());
            for cut in 0..text.len() {
                match read(&text.as_bytes()[..cut]) {
                    Ok(part) => prop_assert_eq!(part, None),
                    Err(why) => prop_assert_eq!(whole, Err(why)),
                }
            }
        }
    }
}
