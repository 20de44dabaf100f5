// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The intermediate representation of a program's behaviour, for an engine to interpret or to
//! generate code from.
//!
//! Code has no types and names, but *slots*: 64-bit limbs in a single frame, each value at a fixed
//! offset. P4 has no recursion, so the parameters, locals and temporaries of every function have
//! fixed slots too, and a call passes nothing but control. Parsers, controls and actions are
//! instantiated: one function for each of them, per instance. Constants are in the frame as well,
//! so an operand is always a slot.
//!
//! A value of `w` bits takes `max(1, ceil(w / 64))` limbs, the least significant first; bits above
//! its width are 0, also if it is signed. Booleans, enums and errors take one limb.

use std::sync::Arc;

/// The index of a limb in the frame; for a value, of its first limb.
pub type Slot = u32;

/// A program for one architecture.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The place of `main` in the source: file, line and column.
    pub place: String,
    /// The name of the package that `main` instantiates: the architecture.
    pub package: String,
    /// The initial contents of the frame: constants and zeros.
    pub frame: Vec<u64>,
    /// All code.
    pub functions: Vec<Function>,
    /// The parsers and controls passed to the package, in its order.
    pub blocks: Vec<Block>,
    /// All tables of all instances.
    pub tables: Vec<Table>,
    /// All instances of extern objects.
    pub externs: Vec<ExternInstance>,
    /// Calls of extern functions and methods, by the index in [`Inst::Extern`].
    pub calls: Vec<ExternCall>,
    /// Types that code reads from or writes to packets.
    pub layouts: Vec<Layout>,
    /// Value sets of parsers.
    pub value_sets: Vec<ValueSet>,
    /// Names of errors; `NoError` is the first.
    pub errors: Vec<String>,
    /// Its control plane API.
    pub control: crate::control::Api,
}

/// Code that is called and returns.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// The name in the control plane.
    pub name: String,
    /// The code; the last instruction does not fall through.
    pub code: Vec<Inst>,
    /// Named positions in the code: the states of a parser.
    pub labels: Vec<(u32, String)>,
}

/// The index of a function.
pub type FunctionId = u32;

/// A parser or control passed to the package.
#[derive(Clone, Debug)]
pub struct Block {
    /// The package's parameter name for it.
    pub role: String,
    /// The name of its declaration.
    pub name: String,
    /// Its code.
    pub function: FunctionId,
    /// Its parameters, except those that are objects (`packet_in`).
    pub parameters: Vec<BlockParameter>,
    /// `true` if it is a parser.
    pub is_parser: bool,
}

/// A parameter of a block.
#[derive(Clone, Debug)]
pub struct BlockParameter {
    /// Its name.
    pub name: String,
    /// Its name in the architecture's declaration of the block.
    pub role: String,
    /// Its slot.
    pub slot: Slot,
    /// Its layout.
    pub layout: Layout,
    /// `true` if its direction lets the block write it.
    pub is_written: bool,
}

/// The layout of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// An integer: its width, and `true` if it is signed.
    Bits(u32, bool),
    /// A Boolean.
    Bool,
    /// An error, by its index in `Program::errors`.
    Error,
    /// An enum without values, by the index of its member.
    Enum(Arc<[String]>),
    /// A varbit: one limb with its length in bits, then space for the maximum length.
    Varbit(u32),
    /// A struct or tuple.
    Struct(Arc<Fields>),
    /// A header: one limb with its validity, then its fields.
    Header(Arc<Fields>),
    /// A header union: its headers, of which at most one is valid.
    Union(Arc<Fields>),
    /// A stack: one limb with the next index, then the elements; and their number.
    Stack(Arc<Layout>, u32),
}

/// The fields of a struct, header or union.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    /// The type's name; empty for tuples.
    pub name: String,
    /// The fields in order.
    pub fields: Vec<Field>,
    /// The total number of limbs.
    pub limbs: u32,
}

/// A field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The offset of its first limb.
    pub offset: u32,
    /// Its layout.
    pub layout: Layout,
    /// The numbers in its `@field_list` annotations.
    pub field_lists: Vec<u32>,
}

/// The number of limbs of a value of that many bits.
pub const fn limbs_of(width: u32) -> u32 {
    match width.div_ceil(64) {
        0 => 1,
        n => n,
    }
}

impl Layout {
    /// The number of limbs of a value.
    pub fn limbs(&self) -> u32 {
        match self {
            Layout::Bits(width, _) => limbs_of(*width),
            Layout::Bool | Layout::Error | Layout::Enum(_) => 1,
            Layout::Varbit(width) => 1 + limbs_of(*width),
            Layout::Struct(fields) | Layout::Header(fields) | Layout::Union(fields) => fields.limbs,
            Layout::Stack(element, count) => 1 + element.limbs() * count,
        }
    }

    /// The number of bits of a value in a packet; varbits count as empty.
    pub fn bits(&self) -> u32 {
        match self {
            Layout::Bits(width, _) => *width,
            Layout::Bool => 1,
            Layout::Error | Layout::Enum(_) => 32,
            Layout::Varbit(_) => 0,
            Layout::Struct(fields) | Layout::Header(fields) => {
                fields.fields.iter().map(|f| f.layout.bits()).sum()
            }
            Layout::Union(_) => 0,
            Layout::Stack(element, count) => element.bits() * count,
        }
    }
}

/// Arithmetic on two operands of equal width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The sum, wrapped to the width.
    Add,
    /// The difference, wrapped to the width.
    Sub,
    /// The product, wrapped to the width.
    Mul,
    /// The quotient, unsigned; 0 if the divisor is 0.
    Div,
    /// The remainder, unsigned; 0 if the divisor is 0.
    Mod,
    /// The saturating sum; `true` if signed.
    AddSat(bool),
    /// The saturating difference; `true` if signed.
    SubSat(bool),
    /// Bitwise AND.
    And,
    /// Bitwise OR.
    Or,
    /// Bitwise XOR.
    Xor,
}

/// Comparison of two operands of equal width; the result is a Boolean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less than; `true` if signed.
    Lt(bool),
    /// Less than or equal; `true` if signed.
    Le(bool),
}

/// An instruction. `dst` is the slot of the result; jump targets are indices of the function's
/// code.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "the fields are operands that the variant's text names"
)]
pub enum Inst {
    /// Copies limbs.
    Move {
        dst: Slot,
        src: Slot,
        limbs: u32,
    },
    /// Clears limbs.
    Zero {
        dst: Slot,
        limbs: u32,
    },
    /// Arithmetic.
    Binary {
        op: Op,
        dst: Slot,
        a: Slot,
        b: Slot,
        width: u32,
    },
    /// Comparison.
    Compare {
        cmp: Cmp,
        dst: Slot,
        a: Slot,
        b: Slot,
        width: u32,
    },
    /// `a` shifted left by `b`, which has its own width.
    Shl {
        dst: Slot,
        a: Slot,
        b: Slot,
        width: u32,
        amount_width: u32,
    },
    /// `a` shifted right by `b`; an arithmetic shift if `signed`.
    Shr {
        dst: Slot,
        a: Slot,
        b: Slot,
        width: u32,
        amount_width: u32,
        signed: bool,
    },
    /// Bitwise complement.
    Not {
        dst: Slot,
        a: Slot,
        width: u32,
    },
    /// Two's complement negation.
    Neg {
        dst: Slot,
        a: Slot,
        width: u32,
    },
    /// Conversion to another width: truncation, zero extension or sign extension.
    Resize {
        dst: Slot,
        a: Slot,
        from: u32,
        to: u32,
        signed: bool,
    },
    /// Extracts `to` bits from bit `low` on.
    Slice {
        dst: Slot,
        a: Slot,
        from: u32,
        low: u32,
        to: u32,
    },
    /// Inserts `a`, of `bits` bits, into `dst` at bit `low`.
    SetSlice {
        dst: Slot,
        width: u32,
        a: Slot,
        low: u32,
        bits: u32,
    },
    /// Concatenation: `a` above `b`, which has `low` bits; the result has `width` bits.
    Concat {
        dst: Slot,
        a: Slot,
        b: Slot,
        low: u32,
        width: u32,
    },
    /// Logical NOT of a Boolean.
    LogicalNot {
        dst: Slot,
        a: Slot,
    },
    /// Copies `limbs` from `base + index * stride`; zeros if the index is not below `count`.
    Load {
        dst: Slot,
        base: Slot,
        index: Slot,
        stride: u32,
        count: u32,
        limbs: u32,
    },
    /// Copies `limbs` to `base + index * stride`; nothing if the index is not below `count`.
    Store {
        src: Slot,
        base: Slot,
        index: Slot,
        stride: u32,
        count: u32,
        limbs: u32,
    },
    /// Compares two varbits for equality.
    EqualVarbit {
        dst: Slot,
        a: Slot,
        b: Slot,
        max: u32,
    },
    Jump {
        to: u32,
    },
    /// Jumps if the Boolean equals `when`.
    Branch {
        cond: Slot,
        when: bool,
        to: u32,
    },
    Call {
        function: FunctionId,
    },
    Return,
    /// Unwinds to the block: callees return, and `out` arguments are copied back.
    Exit,
    /// Jumps if an unwinding is in progress, after `Exit` or a rejection.
    IfEnding {
        to: u32,
    },
    /// Ends a block and resets this state for the next one: returns the index of the error with
    /// which the block ended, or that of `NoError`. Engines insert it between blocks that they
    /// join.
    EndBlock {
        error: Slot,
    },
    /// Ends parsing with the error whose index is in the slot.
    Reject {
        error: Slot,
    },
    /// Looks up the key and runs the action; stores whether an entry matched and the action's
    /// index.
    Apply {
        table: u32,
        hit: Slot,
        action: Slot,
    },
    /// Extracts a header; `length` is the slot with the number of bits of its varbit.
    Extract {
        layout: u32,
        dst: Slot,
        length: Option<Slot>,
    },
    /// Reads a value without advancing.
    Lookahead {
        layout: u32,
        dst: Slot,
    },
    /// Advances by that many bits.
    Advance {
        bits: Slot,
    },
    /// The packet's length in bytes.
    PacketLength {
        dst: Slot,
    },
    /// Appends a header to the output if it is valid.
    Emit {
        layout: u32,
        src: Slot,
    },
    /// Shifts a stack's elements, towards higher indices if `count` is positive.
    Push {
        base: Slot,
        stride: u32,
        elements: u32,
        count: i32,
    },
    /// Tests whether a value set contains the value.
    InValueSet {
        set: u32,
        dst: Slot,
    },
    /// Calls an extern function or method.
    Extern {
        call: u32,
    },
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its place in the source: file, line and column.
    pub place: String,
    /// The name in the control plane.
    pub name: String,
    /// The keys.
    pub keys: Vec<Key>,
    /// The actions that entries may have.
    pub actions: Vec<TableAction>,
    /// The default action.
    pub default: Chosen,
    /// `true` if control planes cannot change the default action.
    pub const_default: bool,
    /// The entries in the program.
    pub entries: Vec<Entry>,
    /// `true` if control planes cannot change the entries.
    pub const_entries: bool,
    /// The requested number of entries.
    pub size: Option<u64>,
    /// The other properties.
    pub properties: Vec<(String, Constant)>,
}

/// A key of a table.
#[derive(Clone, Debug)]
pub struct Key {
    /// The name in the control plane.
    pub name: String,
    /// The slot of its value when the table is applied.
    pub slot: Slot,
    /// Its width in bits.
    pub width: u32,
    /// The match kind: `exact`, `lpm`, ….
    pub kind: String,
    /// `true` if it is a signed integer.
    pub signed: bool,
}

/// An action of a table.
#[derive(Clone, Debug)]
pub struct TableAction {
    /// The name in the control plane.
    pub name: String,
    /// The parameters that entries set.
    pub parameters: Vec<ActionParameter>,
    /// The function that implements it.
    pub function: FunctionId,
    /// `true` if it is for the default action only.
    pub default_only: bool,
    /// `true` if it is for entries only.
    pub table_only: bool,
}

/// An action parameter that entries set.
#[derive(Clone, Debug)]
pub struct ActionParameter {
    /// Its name.
    pub name: String,
    /// Its slot.
    pub slot: Slot,
    /// Its width in bits.
    pub width: u32,
}

/// An action with values for its parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// The index of the action in the table's actions.
    pub action: u32,
    /// One value per parameter, as limbs.
    pub arguments: Vec<Vec<u64>>,
}

/// An entry of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The match of each key.
    pub keys: Vec<Match>,
    /// The action and its arguments.
    pub chosen: Chosen,
    /// The priority; the largest one wins.
    pub priority: i64,
}

/// The match of a key; values are limbs.
#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// Any value.
    Any,
    /// Exactly that value.
    Exact(Vec<u64>),
    /// A value and a mask: bits that are 1 in the mask have to match.
    Ternary(Vec<u64>, Vec<u64>),
    /// A range from one value to another, both included.
    Range(Vec<u64>, Vec<u64>),
}

/// A value set of a parser.
#[derive(Clone, Debug)]
pub struct ValueSet {
    /// The name in the control plane.
    pub name: String,
    /// The slots and widths of the values that are looked up.
    pub keys: Vec<(Slot, u32)>,
    /// The maximum number of members.
    pub size: u64,
}

/// An instance of an extern object.
#[derive(Clone, Debug)]
pub struct ExternInstance {
    /// Its place in the source: file, line and column.
    pub place: String,
    /// The name in the control plane.
    pub name: String,
    /// The name of its type.
    pub kind: String,
    /// The arguments of its constructor.
    pub arguments: Vec<Constant>,
    /// Its type arguments.
    pub types: Vec<Layout>,
}

/// A call of an extern function or method.
#[derive(Clone, Debug)]
pub struct ExternCall {
    /// Its place in the source: file, line and column.
    pub place: String,
    /// The object, for methods.
    pub object: Option<u32>,
    /// The name of the function or method.
    pub name: String,
    /// The arguments, one for each parameter; `None` for optional ones that are not given.
    pub arguments: Vec<Option<Argument>>,
    /// The slot and layout of the result.
    pub result: Option<(Slot, Layout)>,
}

/// An argument of an extern call.
#[derive(Clone, Debug)]
pub enum Argument {
    /// A value in the frame, and `true` if the call writes it. An `out` or `inout` argument has a place
    /// of its own, and is copied from there.
    Value(Slot, Layout, bool),
    /// A string.
    Text(String),
}

/// A value that is known when the program is loaded.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// An integer, truncated to 128 bits.
    Int(u128),
    /// A Boolean.
    Bool(bool),
    /// The name of an enum's member.
    Enum(String),
    /// A string.
    Text(String),
    /// An extern instance, by its index.
    Object(u32),
    /// A list of values.
    List(Vec<Constant>),
}
