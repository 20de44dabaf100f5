// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Declarations, top-level and local.

use std::collections::HashMap;

use super::ast::{
    Annotation, ControlBody, Decl, DeclKind, Direction, Field, Ident, Method, Parameter,
    ParserBody, Signature, State, StructKind, Transition,
};
use super::{Parser, Result};
use crate::lexer::Kind;
use crate::source::Span;

impl Parser<'_> {
    pub(super) fn declaration(&mut self) -> Result<Decl> {
        let start = self.token().span;
        let at = self.at;
        let annotations = self.annotations()?;
        let token = self.token();
        let word = if token.kind == Kind::Ident {
            &*token.text
        } else {
            ""
        };
        let decl = match word {
            "const" => self.constant(start, annotations)?,
            "error" if self.ahead(1).kind == Kind::BraceOpen => {
                self.names(start, annotations, DeclKind::Errors)?
            }
            "match_kind" if self.ahead(1).kind == Kind::BraceOpen => {
                self.names(start, annotations, DeclKind::MatchKinds)?
            }
            "typedef" | "type" if self.ahead(1).kind != Kind::Assign => {
                self.bump();
                let ty = self.ty()?;
                let name = self.ident("the type's name")?;
                self.expect(Kind::Semicolon, "`;`")?;
                self.declare(&name, true);
                let kind = match word {
                    "typedef" => DeclKind::Typedef(ty),
                    _ => DeclKind::NewType(ty),
                };
                self.decl(start, annotations, name, kind)
            }
            "struct" | "header" | "header_union" => self.structure(start, annotations)?,
            "enum" => self.enumeration(start, annotations)?,
            "parser" => self.parser(start, annotations)?,
            "control" => self.control(start, annotations)?,
            "package" => {
                self.bump();
                let name = self.ident("the package's name")?;
                self.declare(&name, true);
                let signature = self.scoped(|p| p.signature(false))?;
                self.expect(Kind::Semicolon, "`;`")?;
                self.decl(start, annotations, name, DeclKind::Package(signature))
            }
            "extern" => self.external(start, annotations)?,
            "action" => self.action(start, annotations)?,
            _ => {
                self.at = at;
                self.variable_or_instance_or_function()?
            }
        };
        Ok(decl)
    }

    pub(super) fn decl(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
        name: Ident,
        kind: DeclKind,
    ) -> Decl {
        Decl {
            id: self.id(),
            annotations,
            name,
            span: self.span_from(start),
            kind,
        }
    }

    fn constant(&mut self, start: Span, annotations: Vec<Annotation>) -> Result<Decl> {
        self.bump();
        let ty = self.ty()?;
        let name = self.ident("the constant's name")?;
        self.expect(Kind::Assign, "`=` and a value")?;
        let value = self.expression()?;
        self.expect(Kind::Semicolon, "`;`")?;
        self.declare(&name, false);
        Ok(self.decl(start, annotations, name, DeclKind::Const(ty, value)))
    }

    fn names(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
        kind: impl FnOnce(Vec<Ident>) -> DeclKind,
    ) -> Result<Decl> {
        let name = self.any_ident();
        self.expect(Kind::BraceOpen, "`{`")?;
        let names = self.list(Kind::BraceClose, "`}` or `,`", |p| p.ident("a name"))?;
        Ok(self.decl(start, annotations, name, kind(names)))
    }

    pub(super) fn type_parameters(&mut self) -> Result<Vec<Ident>> {
        if !self.eat(Kind::Lt) {
            return Ok(Vec::new());
        }
        self.list(Kind::Gt, "`>` or `,`", |p| {
            let name = p.ident("a type parameter")?;
            p.declare(&name, true);
            Ok(name)
        })
    }

    fn structure(&mut self, start: Span, annotations: Vec<Annotation>) -> Result<Decl> {
        let kind = match &*self.bump().text {
            "struct" => StructKind::Struct,
            "header" => StructKind::Header,
            _ => StructKind::Union,
        };
        let name = self.ident("a name")?;
        self.declare(&name, true);
        let (parameters, fields) = self.scoped(|p| {
            let parameters = p.type_parameters()?;
            p.expect(Kind::BraceOpen, "`{`")?;
            let mut fields = Vec::new();
            while !p.eat(Kind::BraceClose) {
                let annotations = p.annotations()?;
                let ty = p.ty()?;
                let name = p.ident("a field's name")?;
                p.expect(Kind::Semicolon, "`;`")?;
                fields.push(Field {
                    annotations,
                    ty,
                    name,
                });
            }
            Ok((parameters, fields))
        })?;
        let kind = DeclKind::Struct(kind, parameters, fields);
        Ok(self.decl(start, annotations, name, kind))
    }

    fn enumeration(&mut self, start: Span, annotations: Vec<Annotation>) -> Result<Decl> {
        self.bump();
        let ty = match self.at_type() && self.ahead(1).kind != Kind::BraceOpen {
            true => Some(self.ty()?),
            false => None,
        };
        let name = self.ident("a name")?;
        self.expect(Kind::BraceOpen, "`{`")?;
        let members = self.list(Kind::BraceClose, "`}` or `,`", |p| {
            p.annotations()?;
            let name = p.ident("a member's name")?;
            let value = match p.eat(Kind::Assign) {
                true => Some(p.expression()?),
                false => None,
            };
            Ok((name, value))
        })?;
        self.declare(&name, true);
        Ok(self.decl(start, annotations, name, DeclKind::Enum(ty, members)))
    }

    pub(super) fn parameters(&mut self) -> Result<Vec<Parameter>> {
        self.expect(Kind::ParenOpen, "`(`")?;
        self.list(Kind::ParenClose, "`)` or `,`", |p| {
            let annotations = p.annotations()?;
            let direction = if p.eat_word("in") {
                Direction::In
            } else if p.eat_word("out") {
                Direction::Out
            } else if p.eat_word("inout") {
                Direction::InOut
            } else {
                Direction::None
            };
            let ty = p.ty()?;
            let name = p.ident("a parameter's name")?;
            let default = match p.eat(Kind::Assign) {
                true => Some(p.expression()?),
                false => None,
            };
            p.declare(&name, false);
            Ok(Parameter {
                id: p.id(),
                annotations,
                direction,
                ty,
                name,
                default,
            })
        })
    }

    /// Parses type parameters and parameters, and constructor parameters where they are legal.
    fn signature(&mut self, constructor: bool) -> Result<Signature> {
        let type_parameters = self.type_parameters()?;
        let parameters = self.parameters()?;
        let constructor = match constructor && self.peek() == Kind::ParenOpen {
            true => self.parameters()?,
            false => Vec::new(),
        };
        Ok(Signature {
            type_parameters,
            parameters,
            constructor,
        })
    }

    fn parser(&mut self, start: Span, annotations: Vec<Annotation>) -> Result<Decl> {
        self.bump();
        let name = self.ident("the parser's name")?;
        self.declare(&name, true);
        let kind = self.scoped(|p| {
            let signature = p.signature(true)?;
            if p.eat(Kind::Semicolon) {
                return Ok(DeclKind::ParserType(signature));
            }
            p.expect(Kind::BraceOpen, "`{` or `;`")?;
            let (mut locals, mut states) = (Vec::new(), Vec::new());
            while !p.eat(Kind::BraceClose) {
                let at = p.at;
                let annotations = p.annotations()?;
                if p.at_word("state") {
                    states.push(p.state(annotations)?);
                } else {
                    p.at = at;
                    locals.push(p.local()?);
                }
            }
            Ok(DeclKind::Parser(
                signature,
                Box::new(ParserBody { locals, states }),
            ))
        })?;
        Ok(self.decl(start, annotations, name, kind))
    }

    fn state(&mut self, annotations: Vec<Annotation>) -> Result<State> {
        self.bump();
        let name = self.ident("the state's name")?;
        self.expect(Kind::BraceOpen, "`{`")?;
        self.scopes.push(HashMap::new());
        let body = self.statements();
        let transition = self.transition();
        self.scopes.pop();
        let (body, transition) = (body?, transition?);
        self.expect(Kind::BraceClose, "`}`")?;
        Ok(State {
            annotations,
            span: self.span_from(name.span),
            name,
            body,
            transition,
        })
    }

    fn transition(&mut self) -> Result<Transition> {
        if !self.eat_word("transition") {
            return Ok(Transition::None);
        }
        if !self.eat_word("select") {
            let to = self.ident("a state")?;
            self.expect(Kind::Semicolon, "`;`")?;
            return Ok(Transition::To(to));
        }
        self.expect(Kind::ParenOpen, "`(`")?;
        let values = self.list(Kind::ParenClose, "`)` or `,`", |p| p.expression())?;
        self.expect(Kind::BraceOpen, "`{`")?;
        let mut cases = Vec::new();
        while !self.eat(Kind::BraceClose) {
            let sets = self.sets()?;
            self.expect(Kind::Colon, "`:` and a state")?;
            let state = self.ident("a state")?;
            self.expect(Kind::Semicolon, "`;`")?;
            cases.push((sets, state));
        }
        Ok(Transition::Select(values, cases))
    }

    fn control(&mut self, start: Span, annotations: Vec<Annotation>) -> Result<Decl> {
        self.bump();
        let name = self.ident("the control's name")?;
        self.declare(&name, true);
        let kind = self.scoped(|p| {
            let signature = p.signature(true)?;
            if p.eat(Kind::Semicolon) {
                return Ok(DeclKind::ControlType(signature));
            }
            p.expect(Kind::BraceOpen, "`{` or `;`")?;
            let mut locals = Vec::new();
            while !p.at_word("apply") {
                locals.push(p.local()?);
            }
            p.bump();
            let apply = p.block()?;
            p.expect(Kind::BraceClose, "`}`")?;
            Ok(DeclKind::Control(
                signature,
                Box::new(ControlBody { locals, apply }),
            ))
        })?;
        Ok(self.decl(start, annotations, name, kind))
    }

    /// Parses a declaration inside a parser or control.
    fn local(&mut self) -> Result<Decl> {
        let at = self.at;
        let start = self.token().span;
        let annotations = self.annotations()?;
        let decl = match self.token() {
            t if t.is("table") => self.table(annotations)?,
            t if t.is("action") => self.action(start, annotations)?,
            t if t.is("const") => self.constant(start, annotations)?,
            t if t.is("value_set") => self.value_set(start, annotations)?,
            _ => {
                self.at = at;
                self.variable_or_instance(true)?
            }
        };
        self.eat(Kind::Semicolon);
        Ok(decl)
    }

    fn value_set(&mut self, start: Span, annotations: Vec<Annotation>) -> Result<Decl> {
        self.bump();
        self.expect(Kind::Lt, "`<` and a type")?;
        let ty = self.ty()?;
        self.expect(Kind::Gt, "`>`")?;
        self.expect(Kind::ParenOpen, "`(` and a size")?;
        let size = self.expression()?;
        self.expect(Kind::ParenClose, "`)`")?;
        let name = self.ident("a name")?;
        self.expect(Kind::Semicolon, "`;`")?;
        self.declare(&name, false);
        Ok(self.decl(start, annotations, name, DeclKind::ValueSet(ty, size)))
    }

    fn action(&mut self, start: Span, annotations: Vec<Annotation>) -> Result<Decl> {
        self.bump();
        let name = self.ident("the action's name")?;
        self.declare(&name, false);
        let kind = self.scoped(|p| {
            let parameters = p.parameters()?;
            Ok(DeclKind::Action(parameters, p.block()?))
        })?;
        Ok(self.decl(start, annotations, name, kind))
    }

    /// Parses an extern object or an extern function.
    fn external(&mut self, start: Span, annotations: Vec<Annotation>) -> Result<Decl> {
        self.bump();
        let is_object = self.peek() == Kind::Ident && self.ahead(1).kind == Kind::BraceOpen
            || self.at_generic_extern_object();
        if !is_object {
            let method = self.scoped(|p| p.function_head(Vec::new()))?;
            self.expect(Kind::Semicolon, "`;`")?;
            self.declare(&method.name, false);
            let name = method.name.clone();
            return Ok(self.decl(start, annotations, name, DeclKind::Function(method, None)));
        }
        let name = self.ident("the extern's name")?;
        self.declare(&name, true);
        let kind = self.scoped(|p| {
            let type_parameters = p.type_parameters()?;
            p.expect(Kind::BraceOpen, "`{`")?;
            let mut methods = Vec::new();
            while !p.eat(Kind::BraceClose) {
                methods.push(p.scoped(|p| p.method(&name))?);
            }
            Ok(DeclKind::Extern(type_parameters, methods))
        })?;
        Ok(self.decl(start, annotations, name, kind))
    }

    /// Returns whether `T<A, B> {` follows, with only names up to the brace.
    fn at_generic_extern_object(&self) -> bool {
        if self.peek() != Kind::Ident || self.ahead(1).kind != Kind::Lt {
            return false;
        }
        let mut n = 2;
        while matches!(self.ahead(n).kind, Kind::Ident | Kind::Comma) {
            n += 1;
        }
        self.ahead(n).kind == Kind::Gt && self.ahead(n + 1).kind == Kind::BraceOpen
    }

    fn method(&mut self, object: &Ident) -> Result<Method> {
        let annotations = self.annotations()?;
        let is_abstract = self.eat_word("abstract");
        let is_constructor = self.token().is(&object.name) && self.ahead(1).kind == Kind::ParenOpen;
        let mut method = if is_constructor {
            let name = self.any_ident();
            Method {
                annotations,
                name,
                result: None,
                type_parameters: Vec::new(),
                parameters: self.parameters()?,
                is_abstract,
            }
        } else {
            self.function_head(annotations)?
        };
        method.is_abstract = is_abstract;
        self.expect(Kind::Semicolon, "`;`")?;
        Ok(method)
    }

    /// Parses `T name<A>(…)`.
    fn function_head(&mut self, annotations: Vec<Annotation>) -> Result<Method> {
        // The type of the result may be a type parameter, which is declared after it.
        let result = self.ty()?;
        let name = self.ident("the function's name")?;
        let type_parameters = self.type_parameters()?;
        Ok(Method {
            annotations,
            name,
            result: Some(result),
            type_parameters,
            parameters: self.parameters()?,
            is_abstract: false,
        })
    }

    fn variable_or_instance_or_function(&mut self) -> Result<Decl> {
        let at = self.at;
        let start = self.token().span;
        let annotations = self.annotations()?;
        if !self.at_type() && self.peek() != Kind::Ident {
            return Err(self.expected("a declaration"));
        }
        let is_function = self
            .attempt(|p| {
                p.ty()?;
                p.ident("a name")?;
                match p.peek() {
                    Kind::Lt | Kind::ParenOpen => Ok(()),
                    _ => Err(super::Failed),
                }
            })
            .is_some();
        self.at = at;
        if !is_function {
            return self.variable_or_instance(true);
        }
        self.annotations()?;
        let (method, body) = self.scoped(|p| {
            let method = p.function_head(Vec::new())?;
            Ok((method, p.block()?))
        })?;
        self.declare(&method.name, false);
        let name = method.name.clone();
        let kind = DeclKind::Function(method, Some(body));
        Ok(self.decl(start, annotations, name, kind))
    }

    /// Parses `T name = value;` or `T(arguments) name;`. The head of a loop takes no `;`.
    pub(super) fn variable_or_instance(&mut self, semicolon: bool) -> Result<Decl> {
        let start = self.token().span;
        let annotations = self.annotations()?;
        let ty = self.ty()?;
        if self.peek() == Kind::ParenOpen {
            let arguments = self.arguments()?;
            let name = self.ident("the instance's name")?;
            self.declare(&name, false);
            let methods = match self.eat(Kind::Assign) {
                true => Some(self.instance_methods()?),
                false => None,
            };
            self.expect(Kind::Semicolon, "`;`")?;
            let kind = DeclKind::Instance(ty, arguments, methods);
            return Ok(self.decl(start, annotations, name, kind));
        }
        let name = self.ident("a name")?;
        let value = match self.eat(Kind::Assign) {
            true => Some(self.expression()?),
            false => None,
        };
        if semicolon {
            self.expect(Kind::Semicolon, "`;`")?;
        }
        self.declare(&name, false);
        Ok(self.decl(start, annotations, name, DeclKind::Variable(ty, value)))
    }

    /// Parses the implementations of an extern's abstract methods.
    fn instance_methods(&mut self) -> Result<Vec<Decl>> {
        self.expect(Kind::BraceOpen, "`{`")?;
        let mut methods = Vec::new();
        while !self.eat(Kind::BraceClose) {
            methods.push(self.variable_or_instance_or_function()?);
        }
        Ok(methods)
    }

    /// Parses `T name in`, in the head of a loop.
    pub(super) fn loop_variable(&mut self) -> Result<Decl> {
        let start = self.token().span;
        let annotations = self.annotations()?;
        let ty = self.ty()?;
        let name = self.ident("the loop's variable")?;
        self.expect_word("in")?;
        Ok(self.decl(start, annotations, name, DeclKind::Variable(ty, None)))
    }
}
