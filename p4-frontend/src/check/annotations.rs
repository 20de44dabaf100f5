// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Annotations that mean something to the front end.

use super::Checker;
use crate::syntax::ast::{Annotation, AnnotationBody, BinaryOp, Expr, ExprKind};

impl<'a> Checker<'a, '_> {
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
