// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Annotations that mean something to the front end.

use super::Checker;
use crate::diagnostics::Diagnostic;
use crate::syntax::ast::{Annotation, AnnotationBody, BinaryOp, Expr, ExprKind};
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
