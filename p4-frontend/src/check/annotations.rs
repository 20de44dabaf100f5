// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Annotations that the front end interprets.

use super::{Checker, Place};
use crate::diagnostics::Diagnostic;
use crate::syntax::ast::{Annotation, AnnotationBody, BinaryOp, Decl, Expr, ExprKind};
use crate::types::{Kind, UNKNOWN};

impl<'a> Checker<'a, '_> {
    /// Checks structured annotations: one per name, holding string, number and Boolean constants.
    pub(super) fn structured_annotations(&mut self, annotations: &'a [Annotation]) {
        for (n, annotation) in annotations.iter().enumerate() {
            let values: Vec<&'a Expr> = match &annotation.body {
                AnnotationBody::List(list) => list.iter().collect(),
                AnnotationBody::Record(list) => list.iter().map(|(_, value)| value).collect(),
                _ => continue,
            };
            let name = &annotation.name.name;
            if let Some(other) = annotations[..n].iter().find(|a| a.name.name == *name) {
                self.error(
                    Diagnostic::error(annotation.name.span, format!("`@{name}` is given twice"))
                        .related(other.name.span, "first here"),
                );
            }
            for value in values {
                let ty = self.expression(value);
                let simple = matches!(
                    self.kind(ty),
                    Kind::String | Kind::Integer | Kind::Bit(_) | Kind::Int(_) | Kind::Bool
                );
                if ty != UNKNOWN && (!simple || self.constant(value).is_none()) {
                    self.fail(
                        value.span,
                        "an annotation holds texts, numbers and truth values that are constants",
                    );
                }
            }
        }
    }

    /// Reports two actions or two tables that would have the same control plane name.
    pub(super) fn control_name(&mut self, decl: &'a Decl, what: &'static str) {
        let given = given_name(&decl.annotations).unwrap_or(&decl.name.name);
        // Names inside a control are prefixed with the names of its instances.
        let whole = match given.strip_prefix('.') {
            Some(absolute) => absolute,
            None if self.place == Place::Top => given,
            None => return,
        };
        // Each program may have its own copy of `NoAction`.
        if whole == "NoAction" {
            return;
        }
        let key = (what, whole.to_owned());
        if let Some(first) = self.control_names.insert(key, decl.name.span) {
            self.error(
                Diagnostic::error(
                    decl.name.span,
                    format!("two {what} are `{whole}` to the control plane"),
                )
                .related(first, "the other one"),
            );
        }
    }

    /// Checks that `@match` on a value set's field takes a match kind.
    pub(super) fn match_annotation(&mut self, annotations: &'a [Annotation]) {
        for annotation in annotations.iter().filter(|a| &*a.name.name == "match") {
            let AnnotationBody::Unstructured(list, _) = &annotation.body else {
                continue;
            };
            let kind = match &list[..] {
                [one] => match &one.kind {
                    ExprKind::Name(name, _) => Some(&name.name),
                    _ => None,
                },
                _ => None,
            };
            if !kind.is_some_and(|kind| self.info.match_kinds.contains(kind)) {
                self.fail(
                    annotation.name.span,
                    "`@match` takes a match kind, as in `@match(ternary)`",
                );
            }
        }
    }

    /// Checks that `@name` takes one string.
    pub(super) fn name_annotation(&mut self, annotations: &'a [Annotation]) {
        for annotation in annotations.iter().filter(|a| &*a.name.name == "name") {
            let is_text = match &annotation.body {
                // The body of a pragma is only text.
                AnnotationBody::Unstructured(list, text) if list.is_empty() => {
                    text.starts_with('"')
                }
                AnnotationBody::Unstructured(list, _) => {
                    matches!(&list[..], [one] if is_text(one))
                }
                _ => false,
            };
            if !is_text {
                self.fail(
                    annotation.name.span,
                    "`@name` takes one text, as in `@name(\"t\")`",
                );
            }
        }
    }
}

/// Returns whether an expression is a string or a concatenation of strings.
fn is_text(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Str(_) | ExprKind::Name(..) => true,
        ExprKind::Binary(BinaryOp::Concat, a, b) => is_text(a) && is_text(b),
        _ => false,
    }
}

/// Returns whether there is an annotation of that name.
pub(crate) fn has(annotations: &[Annotation], name: &str) -> bool {
    annotations.iter().any(|a| &*a.name.name == name)
}

/// The text of `@name`.
pub(crate) fn given_name(annotations: &[Annotation]) -> Option<&str> {
    let annotation = annotations.iter().find(|a| &*a.name.name == "name")?;
    match &annotation.body {
        AnnotationBody::Unstructured(expressions, _) => match &expressions.first()?.kind {
            ExprKind::Str(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}
