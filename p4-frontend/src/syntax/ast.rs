// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The syntax tree of the source, with spans. Expressions and type names have ids, under which the
//! checker records its results.

use num_bigint::BigInt;

use crate::lexer::Name;
use crate::source::Span;

pub(crate) type NodeId = u32;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ident {
    pub(crate) name: Name,
    pub(crate) span: Span,
}

#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) decls: Vec<Decl>,
    /// The number of ids assigned to nodes.
    pub(crate) nodes: NodeId,
}

#[derive(Clone, Debug)]
pub(crate) struct Annotation {
    pub(crate) name: Ident,
    pub(crate) body: AnnotationBody,
}

#[derive(Clone, Debug)]
pub(crate) enum AnnotationBody {
    None,
    /// `@name(…)`: the text, and expressions if it can be parsed as such.
    Unstructured(Vec<Expr>, String),
    /// `@name[…]`.
    List(Vec<Expr>),
    Record(Vec<(Ident, Expr)>),
}

#[derive(Debug)]
pub(crate) struct Decl {
    pub(crate) id: NodeId,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) name: Ident,
    pub(crate) span: Span,
    pub(crate) kind: DeclKind,
}

#[derive(Debug)]
pub(crate) enum DeclKind {
    Const(Type, Expr),
    Variable(Type, Option<Expr>),
    /// `T(args) name;`, with the implementations of an extern's abstract methods.
    Instance(Type, Vec<Argument>, Option<Vec<Decl>>),
    Errors(Vec<Ident>),
    MatchKinds(Vec<Ident>),
    Typedef(Type),
    NewType(Type),
    Struct(StructKind, Vec<Ident>, Vec<Field>),
    Enum(Option<Type>, Vec<(Ident, Option<Expr>)>),
    Parser(Signature, Box<ParserBody>),
    ParserType(Signature),
    Control(Signature, Box<ControlBody>),
    ControlType(Signature),
    Package(Signature),
    Extern(Vec<Ident>, Vec<Method>),
    Function(Method, Option<Block>),
    Action(Vec<Parameter>, Block),
    Table(Vec<Property>),
    ValueSet(Type, Expr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StructKind {
    Struct,
    Header,
    Union,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) ty: Type,
    pub(crate) name: Ident,
}

#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) type_parameters: Vec<Ident>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) constructor: Vec<Parameter>,
}

#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) name: Ident,
    /// `None` for a constructor.
    pub(crate) result: Option<Type>,
    pub(crate) type_parameters: Vec<Ident>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) is_abstract: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    None,
    In,
    Out,
    InOut,
}

impl Direction {
    pub(crate) fn reads(self) -> bool {
        self != Direction::Out
    }

    pub(crate) fn writes(self) -> bool {
        matches!(self, Direction::Out | Direction::InOut)
    }
}

#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) id: NodeId,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) direction: Direction,
    pub(crate) ty: Type,
    pub(crate) name: Ident,
    pub(crate) default: Option<Expr>,
}

#[derive(Debug)]
pub(crate) struct ParserBody {
    pub(crate) locals: Vec<Decl>,
    pub(crate) states: Vec<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) name: Ident,
    pub(crate) span: Span,
    pub(crate) body: Vec<Statement>,
    pub(crate) transition: Transition,
}

#[derive(Debug)]
pub(crate) enum Transition {
    /// To `reject`, since no transition is given.
    None,
    To(Ident),
    Select(Vec<Expr>, Vec<(Vec<Expr>, Ident)>),
}

#[derive(Debug)]
pub(crate) struct ControlBody {
    pub(crate) locals: Vec<Decl>,
    pub(crate) apply: Block,
}

#[derive(Debug)]
pub(crate) struct Property {
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) name: Ident,
    pub(crate) is_const: bool,
    pub(crate) value: PropertyValue,
}

#[derive(Debug)]
pub(crate) enum PropertyValue {
    Key(Vec<Key>),
    Actions(Vec<ActionRef>),
    Entries(Vec<Entry>),
    Expr(Expr),
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) expr: Expr,
    pub(crate) kind: Ident,
    pub(crate) annotations: Vec<Annotation>,
}

/// An action in a list: its name and optional arguments.
#[derive(Debug)]
pub(crate) struct ActionRef {
    pub(crate) id: NodeId,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) name: Ident,
    /// `true` if the name has a leading dot.
    pub(crate) global: bool,
    pub(crate) arguments: Vec<Argument>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) span: Span,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) priority: Option<Expr>,
    pub(crate) keys: Vec<Expr>,
    pub(crate) action: ActionRef,
}

#[derive(Clone, Debug)]
pub(crate) struct Type {
    pub(crate) id: NodeId,
    pub(crate) span: Span,
    pub(crate) kind: TypeKind,
}

#[derive(Clone, Debug)]
pub(crate) enum TypeKind {
    Bool,
    Error,
    String,
    MatchKind,
    Void,
    DontCare,
    /// Integers of arbitrary size, at compile time only.
    Integer,
    Bit(Option<Box<Expr>>),
    Int(Box<Expr>),
    Varbit(Box<Expr>),
    /// A name, whether it has a leading dot, and its type arguments.
    Named(Ident, bool, Vec<Type>),
    Stack(Box<Type>, Box<Expr>),
    Tuple(Vec<Type>),
    List(Box<Type>),
}

#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub(crate) name: Option<Ident>,
    pub(crate) value: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) id: NodeId,
    pub(crate) span: Span,
    pub(crate) kind: ExprKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    Bool(bool),
    /// The value, and the width and signedness if the literal has them.
    Int(BigInt, Option<(u32, bool)>),
    Str(String),
    /// A name, and whether it has a leading dot.
    Name(Ident, bool),
    Type(Box<Type>),
    Member(Box<Expr>, Ident),
    Index(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `e[low+:width]`.
    Part(Box<Expr>, Box<Expr>, Box<Expr>),
    Unary(UnaryOp, Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    Ternary(Box<Expr>, Box<Expr>, Box<Expr>),
    Cast(Box<Type>, Box<Expr>),
    Call(Box<Expr>, Vec<Type>, Vec<Argument>),
    List(Vec<Expr>),
    /// The fields, and whether `...` sets the others to zero.
    Record(Vec<(Ident, Expr)>, bool),
    /// `{#}`.
    InvalidHeader,
    /// `...`.
    Dots,
    /// `_`.
    DontCare,
    /// `default` in a set.
    Default,
    Mask(Box<Expr>, Box<Expr>),
    Range(Box<Expr>, Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnaryOp {
    Not,
    Complement,
    Minus,
    Plus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Mul,
    Div,
    Mod,
    Add,
    Sub,
    AddSat,
    SubSat,
    Shl,
    Shr,
    BitAnd,
    BitXor,
    BitOr,
    Concat,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
    And,
    Or,
}

impl BinaryOp {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::AddSat => "|+|",
            BinaryOp::SubSat => "|-|",
            BinaryOp::Shl => "<<",
            BinaryOp::Shr => ">>",
            BinaryOp::BitAnd => "&",
            BinaryOp::BitXor => "^",
            BinaryOp::BitOr => "|",
            BinaryOp::Concat => "++",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::And => "&&",
            BinaryOp::Or => "||",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) span: Span,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) statements: Vec<Statement>,
}

#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) span: Span,
    pub(crate) kind: StatementKind,
}

#[derive(Debug)]
pub(crate) enum StatementKind {
    Empty,
    Declaration(Box<Decl>),
    Assign(Expr, Option<BinaryOp>, Expr),
    Call(Expr),
    If(Expr, Box<Statement>, Option<Box<Statement>>),
    Block(Block),
    Return(Option<Expr>),
    Exit,
    Break,
    Continue,
    Switch(Expr, Vec<SwitchCase>),
    For(Vec<Statement>, Option<Expr>, Vec<Statement>, Box<Statement>),
    ForIn(Box<Decl>, ForRange, Box<Statement>),
}

#[derive(Debug)]
pub(crate) enum ForRange {
    Numbers(Expr, Expr),
    Elements(Expr),
}

#[derive(Debug)]
pub(crate) struct SwitchCase {
    /// `None` for `default`.
    pub(crate) label: Option<Expr>,
    pub(crate) span: Span,
    /// `None` if the block of the next case applies.
    pub(crate) body: Option<Block>,
}
