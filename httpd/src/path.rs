// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The path of a request's target, normalised.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Returns the path of a target in origin form or absolute form (RFC 9112, section 3.2), without
/// escapes, `.` and empty segments; it begins with `/`. `None`: the target has no such form, has
/// invalid escapes, or leads above the root.
pub(crate) fn normalise(target: &str) -> Option<Cow<'_, str>> {
    let path = if target.starts_with('/') {
        target
    } else {
        let (scheme, rest) = target.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        match rest.find('/') {
            Some(at) => &rest[at..],
            None => "/",
        }
    };
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let plain = !path.contains('%') && !path.contains("//") && !path.contains("/.");
    if plain && !path.contains('\\') {
        return Some(Cow::Borrowed(path));
    }
    if !escapes_are_valid(path) {
        return None;
    }
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    if decoded.contains(['\0', '\\']) {
        return None;
    }
    let mut segments: Vec<&str> = Vec::new();
    let mut folder = true;
    for segment in decoded.split('/').skip(1) {
        folder = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()?),
            segment => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(decoded.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if folder {
        normal.push('/');
    }
    Some(Cow::Owned(normal))
}

fn escapes_are_valid(path: &str) -> bool {
    let mut pieces = path.split('%');
    pieces.next();
    pieces.all(|piece| {
        let digits = piece.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_normalised() {
        for (target, want) in [
            ("/", "/"),
            ("/a/b.html?x=/../y", "/a/b.html"),
            ("http://host:80/a", "/a"),
            ("http://host", "/"),
            ("/a//b/./c", "/a/b/c"),
            ("/a/b/../c", "/a/c"),
            ("/a/b/..", "/a/"),
            ("/%61%2fb", "/a/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/..b/c..", "/a/..b/c.."),
        ] {
            assert_eq!(normalise(target).as_deref(), Some(want), "{target}");
        }
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for bad in [
            "/..",
            "/../etc/passwd",
            "/a/../../etc",
            "/%2e%2e/etc",
            "/a/%2e%2e%2f%2e%2e/etc",
            "/..%2f..",
            "/%",
            "/%4",
            "/%zz",
            "/%00",
            "/a\\..\\b",
            "/%5c..",
            "/%ff",
            "*",
            "",
            "a/b",
            "ftp://host/a",
            "/a/./../../b",
        ] {
            assert_eq!(normalise(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_result_leads_out(target in "[/.%a2eEfF\\\\?]{0,40}") {
            if let Some(path) = normalise(&target) {
                prop_assert!(path.starts_with('/'));
                prop_assert!(path.split('/').all(|segment| segment != ".." && segment != "."));
                prop_assert!(!path.contains("//"));
                // Escapes are decoded once.
                if !path.contains('%') {
                    let again = normalise(&path);
                    prop_assert_eq!(again.as_deref(), Some(&*path));
                }
            }
        }
    }
}
