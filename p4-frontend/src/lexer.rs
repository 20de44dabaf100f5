// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lexer: characters to tokens. Keywords are identifiers here: the preprocessor does not know them.

use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

use logos::{Lexer, Logos, Skip};

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::source::{SourceFile, Span};

/// Kinds of tokens. `>` is always a separate token, unless `=` follows: `>>` might as well close
/// two type argument lists, which only the parser can distinguish.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[logos(error = LexError)]
#[logos(skip r"([ \t\x0b\x0c\r\n]|\\\r?\n)+")]
#[logos(skip r"//[^\n]*")]
pub(crate) enum Kind {
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*")]
    Ident,
    #[regex(r"[0-9][A-Za-z0-9_]*")]
    Number,
    #[regex(r#""([^"\\]|\\(.|\n))*""#)]
    Str,
    #[token("/*", block_comment)]
    Comment,
    #[token("#")]
    Hash,
    #[token("##")]
    HashHash,
    #[token("@")]
    At,
    #[token("(")]
    ParenOpen,
    #[token(")")]
    ParenClose,
    #[token("[")]
    BracketOpen,
    #[token("]")]
    BracketClose,
    #[token("{")]
    BraceOpen,
    #[token("}")]
    BraceClose,
    #[token(",")]
    Comma,
    #[token(";")]
    Semicolon,
    #[token(":")]
    Colon,
    #[token("?")]
    Question,
    #[token(".")]
    Dot,
    #[token("..")]
    DotDot,
    #[token("...")]
    Ellipsis,
    #[token("=")]
    Assign,
    #[token("==")]
    Eq,
    #[token("!=")]
    Ne,
    #[token("!")]
    Not,
    #[token("~")]
    Tilde,
    #[token("<")]
    Lt,
    #[token("<=")]
    Le,
    #[token("<<")]
    Shl,
    #[token("<<=")]
    ShlAssign,
    #[token(">")]
    Gt,
    #[token(">=")]
    Ge,
    #[token("&")]
    And,
    #[token("&&")]
    AndAnd,
    #[token("&&&")]
    Mask,
    #[token("&=")]
    AndAssign,
    #[token("|")]
    Or,
    #[token("||")]
    OrOr,
    #[token("|=")]
    OrAssign,
    #[token("^")]
    Xor,
    #[token("^=")]
    XorAssign,
    #[token("+")]
    Plus,
    #[token("++")]
    PlusPlus,
    #[token("+=")]
    PlusAssign,
    #[token("|+|")]
    PlusSat,
    #[token("|+|=")]
    PlusSatAssign,
    #[token("-")]
    Minus,
    #[token("-=")]
    MinusAssign,
    #[token("|-|")]
    MinusSat,
    #[token("|-|=")]
    MinusSatAssign,
    #[token("*")]
    Star,
    #[token("*=")]
    StarAssign,
    #[token("/")]
    Slash,
    #[token("/=")]
    SlashAssign,
    #[token("%")]
    Percent,
    #[token("%=")]
    PercentAssign,
    /// A character that begins no token.
    Unknown,
    /// The end of the input.
    End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum LexError {
    #[default]
    Character,
    Comment,
}

fn block_comment(lexer: &mut Lexer<'_, Kind>) -> Result<Skip, LexError> {
    match lexer.remainder().find("*/") {
        Some(end) => {
            lexer.bump(end + 2);
            Ok(Skip)
        }
        None => {
            lexer.bump(lexer.remainder().len());
            Err(LexError::Comment)
        }
    }
}

/// An interned string: one allocation for all occurrences.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name(Rc<str>);

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        Name(text.into())
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Interns names, so that equal ones share their text.
#[derive(Default)]
pub(crate) struct Interner(HashSet<Name>);

impl Interner {
    pub(crate) fn name(&mut self, text: &str) -> Name {
        if let Some(name) = self.0.get(text) {
            return name.clone();
        }
        let name = Name::from(text);
        self.0.insert(name.clone());
        name
    }
}

/// A token with its text and span.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: Name,
    pub(crate) span: Span,
    /// `true` if it is the first token of its line.
    pub(crate) first: bool,
    /// `true` if white space precedes it.
    pub(crate) spaced: bool,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.kind == Kind::Ident && &*self.text == text
    }
}

/// The tokens of a file.
pub(crate) fn tokens(
    file: &SourceFile,
    names: &mut Interner,
    diagnostics: &mut Diagnostics,
) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut lexer = Kind::lexer(&file.text);
    let mut end = 0;
    while let Some(result) = lexer.next() {
        let range = lexer.span();
        let gap = &file.text[end..range.start];
        let span = file.span(range.clone());
        match result {
            // A word continues on the next line: C's preprocessor joins lines before all else.
            Ok(Kind::Ident | Kind::Number) if is_spliced(&tokens, gap) => {
                if let Some(word) = tokens.last_mut() {
                    word.text = names.name(&format!("{}{}", &*word.text, lexer.slice()));
                    word.span.hi = span.hi;
                }
            }
            Ok(kind) => tokens.push(Token {
                kind,
                text: names.name(lexer.slice()),
                span,
                first: end == 0 || starts_line(gap),
                spaced: !gap.is_empty(),
            }),
            Err(LexError::Comment) => diagnostics.push(
                Diagnostic::error(span, "this comment does not end").note("`*/` ends a comment"),
            ),
            // It may be in a skipped section or in an annotation: the parser rejects it elsewhere.
            Err(LexError::Character) => tokens.push(Token {
                kind: Kind::Unknown,
                text: names.name(lexer.slice()),
                span,
                first: end == 0 || starts_line(gap),
                spaced: !gap.is_empty(),
            }),
        }
        end = range.end;
    }
    tokens
}

/// Returns whether only a backslash at the end of a line separates a word from the next token.
fn is_spliced(before: &[Token], gap: &str) -> bool {
    matches!(gap, "\\\n" | "\\\r\n") && before.last().is_some_and(|t| t.kind == Kind::Ident)
}

/// Returns whether the white space between two tokens puts the second one on a new line. A line
/// that ends in a backslash continues on the next one.
fn starts_line(gap: &str) -> bool {
    let mut previous = ' ';
    for c in gap.chars() {
        match (previous, c) {
            ('\\', '\n') => {}
            (_, '\n') => return true,
            // `\` CR LF.
            ('\\', '\r') => continue,
            _ => {}
        }
        previous = c;
    }
    false
}
