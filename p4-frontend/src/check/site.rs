// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The site of a call.

use crate::source::Span;
use crate::syntax::ast::{Expr, NodeId};

/// The site of a call: the node under which it is recorded, and the span to underline.
#[derive(Clone, Copy)]
pub(super) struct Site {
    pub(super) id: NodeId,
    pub(super) span: Span,
}

impl From<&Expr> for Site {
    fn from(expr: &Expr) -> Site {
        Site {
            id: expr.id,
            span: expr.span,
        }
    }
}
