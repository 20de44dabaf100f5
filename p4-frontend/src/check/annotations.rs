// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Annotations that mean something to the front end.

use super::{Checker, Place};
use crate::diagnostics::Diagnostic;
use crate::syntax::ast::{Annotation, AnnotationBody, BinaryOp, Decl, Expr, ExprKind};
use crate::types::{Kind, UNKNOWN};

impl<'a> Checker<'a, '_> {
    /// Structured annotations: one of a name, with texts, numbers and truth values in it.
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

    /// Two actions or two tables that control planes would know by the same name.
    pub(super) fn control_name(&mut self, decl: &'a Decl, what: &'static str) {
        let given = given_name(&decl.annotations).unwrap_or(&decl.name.name);
        // Names inside of a control stand behind those of its instances.
        let whole = match given.strip_prefix('.') {
            Some(absolute) => absolute,
            None if self.place == Place::Top => given,
            None => return,
        };
        // Each program may have its own copy of what does nothing.
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

    /// `@match` of a value set's field takes a match kind.
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

    /// `@name` takes one text.
    pub(super) fn name_annotation(&mut self, annotations: &'a [Annotation]) {
        for annotation in annotations.iter().filter(|a| &*a.name.name == "name") {
            let is_text = match &annotation.body {
                // Of a pragma the text is all there is.
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

/// Whether an expression is texts, joined.
fn is_text(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Str(_) | ExprKind::Name(..) => true,
        ExprKind::Binary(BinaryOp::Concat, a, b) => is_text(a) && is_text(b),
        _ => false,
    }
}

/// Whether there is an annotation of that name.
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
