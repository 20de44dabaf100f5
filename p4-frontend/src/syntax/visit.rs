// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Traversal of the syntax tree: the direct children of each kind of node.

use super::ast::{
    ActionRef, Argument, Block, Decl, DeclKind, Expr, ExprKind, ForRange, Parameter, Property,
    PropertyValue, Signature, State, Statement, StatementKind, Transition, Type, TypeKind,
};

impl Expr {
    /// Calls `f` for each direct subexpression, in source order.
    pub(crate) fn each_child<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            ExprKind::Bool(_)
            | ExprKind::Int(..)
            | ExprKind::Str(_)
            | ExprKind::Name(..)
            | ExprKind::InvalidHeader
            | ExprKind::Dots
            | ExprKind::DontCare
            | ExprKind::Default => {}
            ExprKind::Type(ty) => ty.each_expr(f),
            ExprKind::Member(a, _) | ExprKind::Unary(_, a) => f(a),
            ExprKind::Cast(ty, a) => {
                ty.each_expr(f);
                f(a);
            }
            ExprKind::Index(a, b)
            | ExprKind::Binary(_, a, b)
            | ExprKind::Mask(a, b)
            | ExprKind::Range(a, b) => {
                f(a);
                f(b);
            }
            ExprKind::Slice(a, b, c) | ExprKind::Part(a, b, c) | ExprKind::Ternary(a, b, c) => {
                f(a);
                f(b);
                f(c);
            }
            ExprKind::Call(function, types, arguments) => {
                f(function);
                types.iter().for_each(|ty| ty.each_expr(f));
                each_argument(arguments, f);
            }
            ExprKind::List(items) => items.iter().for_each(f),
            ExprKind::Record(fields, _) => fields.iter().for_each(|(_, value)| f(value)),
        }
    }
}

impl Type {
    /// Calls `f` for each expression in this type: widths and sizes.
    pub(crate) fn each_expr<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            TypeKind::Bool
            | TypeKind::Error
            | TypeKind::String
            | TypeKind::MatchKind
            | TypeKind::Void
            | TypeKind::DontCare
            | TypeKind::Integer
            | TypeKind::Bit(None) => {}
            TypeKind::Bit(Some(width)) | TypeKind::Int(width) | TypeKind::Varbit(width) => f(width),
            TypeKind::Named(_, _, types) | TypeKind::Tuple(types) => {
                types.iter().for_each(|ty| ty.each_expr(f));
            }
            TypeKind::Stack(element, size) => {
                element.each_expr(f);
                f(size);
            }
            TypeKind::List(element) => element.each_expr(f),
        }
    }
}

/// A direct child of a statement.
pub(crate) enum Inside<'a> {
    Expr(&'a Expr),
    Statement(&'a Statement),
    Block(&'a Block),
    Decl(&'a Decl),
}

impl Statement {
    /// Calls `f` for each direct child of this statement, in source order.
    pub(crate) fn each_inside<'a>(&'a self, f: &mut dyn FnMut(Inside<'a>)) {
        match &self.kind {
            StatementKind::Empty
            | StatementKind::Return(None)
            | StatementKind::Exit
            | StatementKind::Break
            | StatementKind::Continue => {}
            StatementKind::Declaration(decl) => f(Inside::Decl(decl)),
            StatementKind::Assign(left, _, right) => {
                f(Inside::Expr(left));
                f(Inside::Expr(right));
            }
            StatementKind::Call(expr) | StatementKind::Return(Some(expr)) => f(Inside::Expr(expr)),
            StatementKind::If(condition, yes, no) => {
                f(Inside::Expr(condition));
                f(Inside::Statement(yes));
                if let Some(no) = no {
                    f(Inside::Statement(no));
                }
            }
            StatementKind::Block(block) => f(Inside::Block(block)),
            StatementKind::Switch(value, cases) => {
                f(Inside::Expr(value));
                for case in cases {
                    if let Some(label) = &case.label {
                        f(Inside::Expr(label));
                    }
                    if let Some(body) = &case.body {
                        f(Inside::Block(body));
                    }
                }
            }
            StatementKind::For(init, condition, update, body) => {
                init.iter().for_each(|s| f(Inside::Statement(s)));
                if let Some(condition) = condition {
                    f(Inside::Expr(condition));
                }
                update.iter().for_each(|s| f(Inside::Statement(s)));
                f(Inside::Statement(body));
            }
            StatementKind::ForIn(decl, range, body) => {
                f(Inside::Decl(decl));
                match range {
                    ForRange::Numbers(low, high) => {
                        f(Inside::Expr(low));
                        f(Inside::Expr(high));
                    }
                    ForRange::Elements(elements) => f(Inside::Expr(elements)),
                }
                f(Inside::Statement(body));
            }
        }
    }
}

impl Property {
    /// Calls `f` for each expression of this property, including the arguments of actions.
    pub(crate) fn each_expr<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        match &self.value {
            PropertyValue::Key(keys) => keys.iter().for_each(|key| f(&key.expr)),
            PropertyValue::Actions(actions) => {
                for action in actions {
                    each_argument(&action.arguments, f);
                }
            }
            PropertyValue::Entries(entries) => {
                for entry in entries {
                    entry.priority.iter().for_each(&mut *f);
                    entry.keys.iter().for_each(&mut *f);
                    each_argument(&entry.action.arguments, f);
                }
            }
            PropertyValue::Expr(value) => f(value),
        }
    }
}

fn each_argument<'a>(arguments: &'a [Argument], f: &mut dyn FnMut(&'a Expr)) {
    arguments.iter().for_each(|argument| f(&argument.value));
}

/// Visits the nodes of a part of the tree, outer ones before inner ones.
pub(crate) trait Visitor<'a> {
    fn decl(&mut self, _: &'a Decl) {}
    fn state(&mut self, _: &'a State) {}
    fn block(&mut self, _: &'a Block) {}
    fn statement(&mut self, _: &'a Statement) {}
    fn expr(&mut self, _: &'a Expr) {}
    fn action(&mut self, _: &'a ActionRef) {}
}

/// Visits a declaration and everything in it.
pub(crate) fn walk<'a>(decl: &'a Decl, visitor: &mut dyn Visitor<'a>) {
    visitor.decl(decl);
    match &decl.kind {
        DeclKind::Const(ty, value) => {
            walk_type(ty, visitor);
            walk_expr(value, visitor);
        }
        DeclKind::Variable(ty, value) => {
            walk_type(ty, visitor);
            if let Some(value) = value {
                walk_expr(value, visitor);
            }
        }
        DeclKind::Instance(ty, arguments, methods) => {
            walk_type(ty, visitor);
            each_argument(arguments, &mut |expr| walk_expr(expr, visitor));
            for method in methods.iter().flatten() {
                walk(method, visitor);
            }
        }
        DeclKind::Errors(_) | DeclKind::MatchKinds(_) => {}
        DeclKind::Typedef(ty) | DeclKind::NewType(ty) => walk_type(ty, visitor),
        DeclKind::Struct(_, _, fields) => {
            fields
                .iter()
                .for_each(|field| walk_type(&field.ty, visitor));
        }
        DeclKind::Enum(ty, members) => {
            ty.iter().for_each(|ty| walk_type(ty, visitor));
            for value in members.iter().filter_map(|m| m.1.as_ref()) {
                walk_expr(value, visitor);
            }
        }
        DeclKind::Parser(signature, body) => {
            walk_signature(signature, visitor);
            body.locals.iter().for_each(|local| walk(local, visitor));
            for state in &body.states {
                visitor.state(state);
                walk_statements(&state.body, visitor);
                if let Transition::Select(values, cases) = &state.transition {
                    values.iter().for_each(|value| walk_expr(value, visitor));
                    for (sets, _) in cases {
                        sets.iter().for_each(|set| walk_expr(set, visitor));
                    }
                }
            }
        }
        DeclKind::Control(signature, body) => {
            walk_signature(signature, visitor);
            body.locals.iter().for_each(|local| walk(local, visitor));
            walk_block(&body.apply, visitor);
        }
        DeclKind::ParserType(signature)
        | DeclKind::ControlType(signature)
        | DeclKind::Package(signature) => walk_signature(signature, visitor),
        DeclKind::Extern(_, methods) => {
            for method in methods {
                method.result.iter().for_each(|ty| walk_type(ty, visitor));
                walk_parameters(&method.parameters, visitor);
            }
        }
        DeclKind::Function(method, body) => {
            method.result.iter().for_each(|ty| walk_type(ty, visitor));
            walk_parameters(&method.parameters, visitor);
            body.iter().for_each(|body| walk_block(body, visitor));
        }
        DeclKind::Action(parameters, body) => {
            walk_parameters(parameters, visitor);
            walk_block(body, visitor);
        }
        DeclKind::Table(properties) => {
            for property in properties {
                match &property.value {
                    PropertyValue::Actions(actions) => {
                        actions.iter().for_each(|action| visitor.action(action));
                    }
                    PropertyValue::Entries(entries) => {
                        entries
                            .iter()
                            .for_each(|entry| visitor.action(&entry.action));
                    }
                    PropertyValue::Key(_) | PropertyValue::Expr(_) => {}
                }
                property.each_expr(&mut |expr| walk_expr(expr, visitor));
            }
        }
        DeclKind::ValueSet(ty, size) => {
            walk_type(ty, visitor);
            walk_expr(size, visitor);
        }
    }
}

fn walk_signature<'a>(signature: &'a Signature, visitor: &mut dyn Visitor<'a>) {
    walk_parameters(&signature.parameters, visitor);
    walk_parameters(&signature.constructor, visitor);
}

fn walk_parameters<'a>(parameters: &'a [Parameter], visitor: &mut dyn Visitor<'a>) {
    for parameter in parameters {
        walk_type(&parameter.ty, visitor);
        parameter
            .default
            .iter()
            .for_each(|expr| walk_expr(expr, visitor));
    }
}

/// Visits a block and everything in it.
pub(crate) fn walk_block<'a>(block: &'a Block, visitor: &mut dyn Visitor<'a>) {
    visitor.block(block);
    walk_statements(&block.statements, visitor);
}

fn walk_statements<'a>(statements: &'a [Statement], visitor: &mut dyn Visitor<'a>) {
    for statement in statements {
        visitor.statement(statement);
        statement.each_inside(&mut |inside| match inside {
            Inside::Expr(expr) => walk_expr(expr, visitor),
            Inside::Statement(statement) => {
                walk_statements(std::slice::from_ref(statement), visitor);
            }
            Inside::Block(block) => walk_block(block, visitor),
            Inside::Decl(decl) => walk(decl, visitor),
        });
    }
}

fn walk_type<'a>(ty: &'a Type, visitor: &mut dyn Visitor<'a>) {
    ty.each_expr(&mut |expr| walk_expr(expr, visitor));
}

/// Visits an expression and everything in it.
pub(crate) fn walk_expr<'a>(expr: &'a Expr, visitor: &mut dyn Visitor<'a>) {
    visitor.expr(expr);
    expr.each_child(&mut |child| walk_expr(child, visitor));
}
