// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Spans in which `@noWarn("name")` disables warnings: the annotated declaration and all in it.

use crate::diagnostics::Diagnostic;
use crate::source::Span;
use crate::syntax::ast::{
    Annotation, AnnotationBody, Decl, DeclKind, ExprKind, Parameter, Program, PropertyValue, State,
};
use crate::syntax::visit::{walk, Visitor};
use crate::warnings::Warning;

/// Spans in which some kinds of warnings are disabled.
#[derive(Default)]
pub(crate) struct Quiet(Vec<(Span, Warning)>);

impl Quiet {
    /// Collects the spans of a program.
    pub(crate) fn of(program: &Program) -> Quiet {
        let mut quiet = Quiet::default();
        program.decls.iter().for_each(|decl| walk(decl, &mut quiet));
        quiet
    }

    /// Returns whether a diagnostic is a warning that is disabled in its place.
    pub(crate) fn covers(&self, diagnostic: &Diagnostic) -> bool {
        let at = diagnostic.span;
        self.0.iter().any(|(span, warning)| {
            let kind = diagnostic.warning;
            let is_kind = kind == Some(*warning) || kind.and_then(Warning::whole) == Some(*warning);
            is_kind && span.lo <= at.lo && at.hi <= span.hi
        })
    }

    fn note(&mut self, annotations: &[Annotation], span: Span) {
        for annotation in annotations {
            if &*annotation.name.name != "noWarn" {
                continue;
            }
            let texts = match &annotation.body {
                AnnotationBody::Unstructured(texts, _) | AnnotationBody::List(texts) => texts,
                AnnotationBody::None | AnnotationBody::Record(_) => continue,
            };
            for text in texts {
                if let ExprKind::Str(name) = &text.kind {
                    // Names that only other compilers know are ignored.
                    self.0
                        .extend(Warning::from_name(name).map(|warning| (span, warning)));
                }
            }
        }
    }

    fn parameters(&mut self, parameters: &[Parameter]) {
        for parameter in parameters {
            self.note(&parameter.annotations, parameter.name.span);
        }
    }
}

impl<'a> Visitor<'a> for Quiet {
    fn decl(&mut self, decl: &'a Decl) {
        self.note(&decl.annotations, decl.span);
        match &decl.kind {
            DeclKind::Struct(_, _, fields) => {
                for field in fields {
                    self.note(&field.annotations, field.name.span);
                }
            }
            DeclKind::Parser(signature, _) | DeclKind::Control(signature, _) => {
                self.parameters(&signature.parameters);
                self.parameters(&signature.constructor);
            }
            DeclKind::Function(method, _) => self.parameters(&method.parameters),
            DeclKind::Action(parameters, _) => self.parameters(parameters),
            DeclKind::Table(properties) => {
                for property in properties {
                    match &property.value {
                        PropertyValue::Entries(entries) => {
                            for entry in entries {
                                self.note(&entry.annotations, entry.span);
                            }
                        }
                        PropertyValue::Actions(actions) => {
                            for action in actions {
                                self.note(&action.annotations, action.name.span);
                            }
                        }
                        PropertyValue::Key(keys) => {
                            for key in keys {
                                self.note(&key.annotations, key.expr.span);
                            }
                        }
                        PropertyValue::Expr(_) => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn state(&mut self, state: &'a State) {
        self.note(&state.annotations, state.span);
    }

    fn block(&mut self, block: &'a crate::syntax::ast::Block) {
        self.note(&block.annotations, block.span);
    }
}
