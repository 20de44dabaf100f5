// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The responses of a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use super::{Body, Session, State, Worker};
use crate::request::{Head, Method};
use crate::response::{self, After, Status};
use crate::Shared;

const PLAIN: &str = "Content-Type: text/plain; charset=utf-8\r\n";
const JSON: &str = "Content-Type: application/json\r\nCache-Control: no-store\r\n";

/// A request for an echo, whose body is still to be read.
#[derive(Debug)]
pub(super) struct Echo {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) after: After,
    pub(super) body: Vec<u8>,
}

impl Session {
    /// Begins the response to a request that is not an echo.
    pub(super) fn serve(
        &mut self,
        path: &str,
        head: &Head<'_>,
        after: After,
        worker: &mut Worker<'_>,
    ) {
        let reads = matches!(head.method, Method::Get | Method::Head);
        let shared = worker.shared;
        if let Some(entry) = shared.site.find(path) {
            if !reads {
                return self.text(response::NOT_ALLOWED, "Allow: GET, HEAD\r\n", after, worker);
            }
            let date = (worker.date.get(worker.now), after);
            if head
                .if_none_match
                .is_some_and(|etags| matches(etags, &entry.etag))
            {
                let status = response::NOT_MODIFIED;
                let fields = &entry.fields;
                return response::head(&mut self.out, status, date, fields, None, worker.counters);
            }
            let (len, fields) = (Some(entry.len), &entry.fields);
            response::head(
                &mut self.out,
                response::OK,
                date,
                fields,
                len,
                worker.counters,
            );
            if !self.omit_body {
                let entry = Arc::clone(entry);
                self.body = Some(Body { entry, at: 0 });
            }
            return;
        }
        if path == "/echo" {
            let allow = "Allow: GET, HEAD, POST\r\n";
            return self.text(response::NOT_ALLOWED, allow, after, worker);
        }
        if !reads {
            return self.text(response::NOT_ALLOWED, "Allow: GET, HEAD\r\n", after, worker);
        }
        let report = Some(shared)
            .filter(|_| path == "/stats")
            .and_then(Shared::report);
        if let Some(report) = report {
            return self.json(&report, after, worker);
        }
        if shared.site.is_folder(path) {
            // The path of an index has no characters that a field cannot contain, but may have some that
            // are escaped in a target.
            let safe = percent_encoding::utf8_percent_encode(path, TARGET);
            let location = format!("Location: {safe}/\r\n");
            return self.text(response::MOVED, &location, after, worker);
        }
        self.text(response::NOT_FOUND, "", after, worker);
    }

    /// Answers with a status and its phrase as text.
    fn text(&mut self, status: Status, fields: &str, after: After, worker: &mut Worker<'_>) {
        let text = format!("{} {}\n", status.0, status.1);
        let fields = format!("{PLAIN}{fields}");
        let date = (worker.date.get(worker.now), after);
        let len = Some(text.len() as u64);
        response::head(&mut self.out, status, date, &fields, len, worker.counters);
        if !self.omit_body {
            self.out.extend_from_slice(text.as_bytes());
        }
    }

    fn json(&mut self, value: &impl Serialize, after: After, worker: &mut Worker<'_>) {
        // The values have no maps with keys that JSON lacks, so this does not fail.
        let mut text = serde_json::to_vec(value).unwrap_or_default();
        text.push(b'\n');
        let date = (worker.date.get(worker.now), after);
        let len = Some(text.len() as u64);
        response::head(
            &mut self.out,
            response::OK,
            date,
            JSON,
            len,
            worker.counters,
        );
        if !self.omit_body {
            self.out.extend_from_slice(&text);
        }
    }

    pub(super) fn echo(&mut self, echo: &Echo, worker: &mut Worker<'_>) {
        #[derive(Serialize)]
        struct Answer<'a> {
            server: &'a str,
            client: SocketAddr,
            address: SocketAddr,
            method: &'a str,
            target: &'a str,
            body_bytes: usize,
            body: std::borrow::Cow<'a, str>,
        }
        let shared = worker.shared;
        let answer = Answer {
            server: &shared.name,
            client: self.peer,
            address: self.local,
            method: match echo.method {
                Method::Get => "GET",
                Method::Head => "HEAD",
                Method::Post | Method::Other => "POST",
            },
            target: &echo.target,
            body_bytes: echo.body.len(),
            body: String::from_utf8_lossy(&echo.body),
        };
        self.json(&answer, echo.after, worker);
    }

    /// Answers with an error and closes the connection.
    pub(super) fn refuse(&mut self, status: Status, worker: &mut Worker<'_>) {
        self.close = true;
        self.state = State::Reply;
        self.text(status, "", After::Close, worker);
    }
}

/// The characters of a path that are escaped in a target: all but those of RFC 3986, section 3.3.
const TARGET: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Returns whether a list of entity tags (RFC 9110, section 13.1.2) has one, weak or strong.
fn matches(etags: &[u8], etag: &str) -> bool {
    let mut etags = etags.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    etags.any(|it| it == b"*" || it.strip_prefix(b"W/").unwrap_or(it) == etag.as_bytes())
}
