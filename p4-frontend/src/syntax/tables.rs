// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tables: properties, keys, lists of actions, entries.

use super::ast::{ActionRef, Decl, DeclKind, Entry, Key, Property, PropertyValue};
use super::{Parser, Result};
use crate::lexer::Kind;

impl Parser<'_> {
    /// Parses `table name { … }`, after its annotations.
    pub(super) fn table(&mut self, annotations: Vec<super::ast::Annotation>) -> Result<Decl> {
        let start = self.token().span;
        self.expect_word("table")?;
        let name = self.ident("a table's name")?;
        self.declare(&name, false);
        self.expect(Kind::BraceOpen, "`{`")?;
        let mut properties = Vec::new();
        while !self.eat(Kind::BraceClose) {
            properties.push(self.property()?);
        }
        Ok(Decl {
            id: self.id(),
            annotations,
            name,
            span: self.span_from(start),
            kind: DeclKind::Table(properties),
        })
    }

    fn property(&mut self) -> Result<Property> {
        let annotations = self.annotations()?;
        let is_const = self.eat_word("const");
        let name = self.ident("a table property")?;
        self.expect(Kind::Assign, "`=`")?;
        let value = match &*name.name {
            "key" => {
                self.expect(Kind::BraceOpen, "`{`")?;
                PropertyValue::Key(self.until_brace(|p| p.key())?)
            }
            "actions" => {
                self.expect(Kind::BraceOpen, "`{`")?;
                PropertyValue::Actions(self.until_brace(|p| {
                    let action = p.action_ref(true)?;
                    p.expect(Kind::Semicolon, "`;`")?;
                    Ok(action)
                })?)
            }
            "entries" => {
                self.expect(Kind::BraceOpen, "`{`")?;
                PropertyValue::Entries(self.until_brace(|p| p.entry())?)
            }
            _ => {
                let value = self.expression()?;
                self.expect(Kind::Semicolon, "`;`")?;
                PropertyValue::Expr(value)
            }
        };
        // A `;` after a brace is not in the grammar, but harmless and common.
        if !matches!(value, PropertyValue::Expr(_)) {
            self.eat(Kind::Semicolon);
        }
        Ok(Property {
            annotations,
            name,
            is_const,
            value,
        })
    }

    fn until_brace<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !self.eat(Kind::BraceClose) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn key(&mut self) -> Result<Key> {
        let expr = self.expression()?;
        self.expect(Kind::Colon, "`:` and a match kind")?;
        let kind = self.ident("a match kind")?;
        let annotations = self.annotations()?;
        self.expect(Kind::Semicolon, "`;`")?;
        Ok(Key {
            expr,
            kind,
            annotations,
        })
    }

    fn action_ref(&mut self, leading: bool) -> Result<ActionRef> {
        let annotations = match leading {
            true => self.annotations()?,
            false => Vec::new(),
        };
        let global = self.eat(Kind::Dot);
        let name = self.ident("an action")?;
        let arguments = match self.peek() {
            Kind::ParenOpen => self.arguments()?,
            _ => Vec::new(),
        };
        Ok(ActionRef {
            id: self.id(),
            annotations,
            name,
            global,
            arguments,
        })
    }

    fn entry(&mut self) -> Result<Entry> {
        let start = self.token().span;
        self.eat_word("const");
        let mut priority = None;
        if self.at_word("priority") && self.ahead(1).kind == Kind::Assign {
            self.bump();
            self.bump();
            priority = Some(match self.eat(Kind::ParenOpen) {
                true => {
                    let value = self.expression()?;
                    self.expect(Kind::ParenClose, "`)`")?;
                    value
                }
                false => self.primary()?,
            });
            self.expect(Kind::Colon, "`:`")?;
        }
        let keys = self.sets()?;
        self.expect(Kind::Colon, "`:` and an action")?;
        let action = self.action_ref(false)?;
        let annotations = self.annotations()?;
        self.expect(Kind::Semicolon, "`;`")?;
        Ok(Entry {
            span: self.span_from(start),
            annotations,
            priority,
            keys,
            action,
        })
    }
}
