// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Options as getopt_long(3) reads them: clusters of letters, long names that may be abbreviated,
//! values behind `=` or in the next word, other words between options. The set of long options grows
//! while they are read: a protocol adds its own.

/// The word before the first one.
const PROGRAM: &str = "conntrack";

/// The value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The option has none.
    None,
    /// It follows, in the same word or the next.
    Required,
    /// It may follow in the same word.
    Optional,
}

/// An option with a long name, a letter, or both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec<K> {
    pub(super) key: K,
    pub(super) letter: Option<char>,
    pub(super) name: &'static str,
    pub(super) value: Value,
}

/// A word that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// There is no such option, or there are several that begin so.
    Unknown(String),
    /// The value of the option is missing.
    NoValue(String),
}

/// A reader of options.
pub(super) struct Reader<'a> {
    words: &'a [String],
    /// The next word.
    at: usize,
    /// The letters of a cluster that follow.
    cluster: &'a str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(words: &'a [String]) -> Self {
        Reader {
            words,
            at: 0,
            cluster: "",
        }
    }

    /// Takes the next word if it does not begin with a dash or `!`: the value of an option that
    /// conntrack(8) permits there although getopt does not.
    pub(super) fn take_word(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at)?;
        if word.starts_with(['-', '!']) {
            return None;
        }
        self.at += 1;
        Some(word)
    }

    /// The next option and its value. Other words are skipped.
    #[allow(clippy::type_complexity)]
    pub(super) fn next<K: Copy + PartialEq>(
        &mut self,
        specs: &[Spec<K>],
    ) -> Option<Result<(K, Option<&'a str>), Problem>> {
        if self.cluster.is_empty() {
            while self.words.get(self.at)?.len() < 2 || !self.words[self.at].starts_with('-') {
                self.at += 1;
            }
            let word = &self.words[self.at];
            self.at += 1;
            if let Some(long) = word.strip_prefix("--") {
                if long.is_empty() {
                    self.at = self.words.len();
                    return None;
                }
                return Some(self.long(specs, word, long));
            }
            self.cluster = &word[1..];
        }
        let mut letters = self.cluster.chars();
        let letter = letters.next()?;
        self.cluster = letters.as_str();
        let word = |at: usize| at.checked_sub(1).and_then(|at| self.words.get(at));
        let Some(spec) = specs.iter().find(|spec| spec.letter == Some(letter)) else {
            // getopt has passed the word of the option only with its last letter.
            let named = word(self.at - usize::from(!self.cluster.is_empty()));
            let named = named.map_or(PROGRAM, String::as_str);
            return Some(Err(Problem::Unknown(named.to_owned())));
        };
        let value = match spec.value {
            Value::None => None,
            Value::Optional | Value::Required if !self.cluster.is_empty() => {
                Some(std::mem::take(&mut self.cluster))
            }
            Value::Optional => None,
            Value::Required => match self.words.get(self.at) {
                Some(word) => {
                    self.at += 1;
                    Some(word.as_str())
                }
                None => {
                    let named = word(self.at).cloned().unwrap_or_default();
                    return Some(Err(Problem::NoValue(named)));
                }
            },
        };
        Some(Ok((spec.key, value)))
    }

    #[allow(clippy::type_complexity)]
    fn long<K: Copy + PartialEq>(
        &mut self,
        specs: &[Spec<K>],
        word: &str,
        long: &'a str,
    ) -> Result<(K, Option<&'a str>), Problem> {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let unknown = || Problem::Unknown(word.to_owned());
        let exact = specs.iter().find(|spec| spec.name == name);
        let spec = match exact {
            Some(spec) => spec,
            None => {
                let mut begun = specs.iter().filter(|spec| spec.name.starts_with(name));
                let first = begun.next().ok_or_else(unknown)?;
                // Several names of one option are no ambiguity.
                if begun.any(|spec| spec.key != first.key) {
                    return Err(unknown());
                }
                first
            }
        };
        let value = match (spec.value, value) {
            (Value::None, Some(_)) => return Err(unknown()),
            (Value::Required, None) => {
                let next = self.words.get(self.at);
                let next = next.ok_or_else(|| Problem::NoValue(word.to_owned()))?;
                self.at += 1;
                Some(next.as_str())
            }
            (_, value) => value,
        };
        Ok((spec.key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: [Spec<u8>; 5] = [
        spec(1, Some('s'), "orig-src", Value::Required),
        spec(1, Some('s'), "src", Value::Required),
        spec(2, Some('L'), "dump", Value::Optional),
        spec(3, Some('z'), "zero", Value::None),
        spec(4, None, "orig-zone", Value::Required),
    ];

    const fn spec(key: u8, letter: Option<char>, name: &'static str, value: Value) -> Spec<u8> {
        Spec {
            key,
            letter,
            name,
            value,
        }
    }

    fn read(line: &str) -> Result<Vec<(u8, Option<String>)>, Problem> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let mut reader = Reader::new(&words);
        let mut all = Vec::new();
        while let Some(option) = reader.next(&SPECS) {
            let (key, value) = option?;
            all.push((key, value.map(str::to_owned)));
        }
        Ok(all)
    }

    #[test]
    fn options_have_letters_names_and_abbreviations() {
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(read("-zL -s 1 x -s2"), read("--zero --du --src=1 --s 2"));
        assert_eq!(
            read("-zL -s 1 x -s2").unwrap(),
            [(3, None), (2, None), (1, value("1")), (1, value("2"))]
        );
        assert_eq!(read("-Lexpect").unwrap(), [(2, value("expect"))]);
        assert_eq!(read("-z -- -L").unwrap(), [(3, None)]);
        assert_eq!(read("- -z").unwrap(), [(3, None)]);
        // A value may begin with a dash.
        assert_eq!(read("-s -z").unwrap(), [(1, value("-z"))]);
    }

    #[test]
    fn bad_words_are_named() {
        let unknown = |word: &str| Err(Problem::Unknown(word.to_owned()));
        assert_eq!(read("-X"), unknown("-X"));
        assert_eq!(read("-zX"), unknown("-zX"));
        assert_eq!(read("-Xz"), unknown("conntrack"));
        assert_eq!(read("-z -Xz"), unknown("-z"));
        assert_eq!(read("--orig 1"), unknown("--orig"));
        assert_eq!(read("--zero=1"), unknown("--zero=1"));
        assert_eq!(read("-s"), Err(Problem::NoValue("-s".into())));
        assert_eq!(read("-zs"), Err(Problem::NoValue("-zs".into())));
        assert_eq!(read("--orig-s"), Err(Problem::NoValue("--orig-s".into())));
    }
}
