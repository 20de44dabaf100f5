// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Information that control planes need beyond a program's behaviour: named types, annotations,
//! documentation. The lists parallel those of `ir::Program`, element by element.

use std::collections::BTreeMap;

/// The control plane API of a program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Api {
    /// The annotations of `main`.
    pub package: Vec<Annotation>,
    /// The tables.
    pub tables: Vec<Table>,
    /// The actions, each once.
    pub actions: Vec<Action>,
    /// The extern objects.
    pub externs: Vec<Extern>,
    /// The value sets.
    pub value_sets: Vec<ValueSet>,
    /// Digests that are sent by function calls, not by objects: name and type.
    pub digests: Vec<(String, Type)>,
    /// Headers of packets to and from control planes.
    pub headers: Vec<ControllerHeader>,
    /// The named types, as far as they are used here.
    pub types: BTreeMap<String, Definition>,
    /// `true` if one of these types is `error`: the API then includes all errors.
    pub has_errors: bool,
}

/// An annotation.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Its name.
    pub name: String,
    /// Its body.
    pub body: Body,
}

/// The body of an annotation.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// No body.
    Empty,
    /// An unstructured body: its text, and the values in it, if any.
    Text(String, Vec<Value>),
    /// A list of values.
    List(Vec<Value>),
    /// Key-value pairs.
    Record(Vec<(String, Value)>),
}

/// A value in an annotation.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A Boolean.
    Bool(bool),
    /// A string.
    Text(String),
    /// A name.
    Name(String),
    /// A `bit` type of that width.
    Bits(u32),
}

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// `bit`.
    Bit(u32),
    /// `int`.
    Int(u32),
    /// `varbit`.
    Varbit(u32),
    /// `bool`.
    Bool,
    /// `error`.
    Error,
    /// A tuple.
    Tuple(Vec<Type>),
    /// A struct, by its name.
    Struct(String),
    /// A header, by its name.
    Header(String),
    /// A header union, by its name.
    Union(String),
    /// An enum, by its name.
    Enum(String),
    /// An enum with values, by its name.
    Serializable(String),
    /// A `type`, by its name.
    New(String),
    /// A stack of headers or unions.
    Stack(Box<Type>, u32),
    /// A type that control planes cannot represent.
    Other,
}

/// A named type.
#[derive(Clone, Debug, PartialEq)]
pub enum Definition {
    /// The fields of a struct.
    Struct(Vec<(String, Type)>),
    /// A header's fields.
    Header(Vec<(String, Type)>),
    /// A union's headers.
    Union(Vec<(String, Type)>),
    /// An enum's members.
    Enum(Vec<String>),
    /// The width of an enum's values, and its members with their values, most significant byte
    /// first.
    Serializable(u32, Vec<(String, Vec<u8>)>),
    /// The type that a `type` resolves to in the end, and its annotations.
    New(Type, Vec<Annotation>),
}

/// A named item with a type and annotations.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The name.
    pub name: String,
    /// The type.
    pub ty: Type,
    /// The width of a value in bits; 0 for enums without values.
    pub width: u32,
    /// The annotations.
    pub annotations: Vec<Annotation>,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its keys.
    pub keys: Vec<Item>,
    /// The annotations of its references to actions.
    pub actions: Vec<Vec<Annotation>>,
    /// `true` if the default action, `NoAction`, is not in the program's list of actions.
    pub unlisted_default: bool,
}

/// An action.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// The name in the control plane.
    pub name: String,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// The parameters that entries set.
    pub parameters: Vec<Item>,
    /// `true` if anything other than its declaration refers to it.
    pub is_used: bool,
}

/// An extern object.
#[derive(Clone, Debug, PartialEq)]
pub struct Extern {
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its type arguments.
    pub types: Vec<Type>,
}

/// A value set.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueSet {
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// The fields of a member; without names if its type is not a struct.
    pub fields: Vec<Item>,
}

/// A header of packets to and from control planes.
#[derive(Clone, Debug, PartialEq)]
pub struct ControllerHeader {
    /// The name in the annotation: `packet_in`, `packet_out`.
    pub name: String,
    /// The type's name.
    pub type_name: String,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its fields.
    pub fields: Vec<Item>,
}

/// Returns whether there is an annotation of that name.
pub fn has(annotations: &[Annotation], name: &str) -> bool {
    annotations.iter().any(|a| a.name == name)
}

/// The values of the annotation of that name.
pub fn values<'a>(annotations: &'a [Annotation], name: &str) -> Option<&'a [Value]> {
    let found = annotations.iter().find(|a| a.name == name)?;
    match &found.body {
        Body::Text(_, values) | Body::List(values) => Some(values),
        _ => None,
    }
}

/// The string value of the annotation of that name.
pub fn text<'a>(annotations: &'a [Annotation], name: &str) -> Option<&'a str> {
    match values(annotations, name)? {
        [Value::Text(text), ..] => Some(text),
        _ => None,
    }
}

/// The integer value of the annotation of that name.
pub fn number(annotations: &[Annotation], name: &str) -> Option<i64> {
    match values(annotations, name)? {
        [Value::Int(number), ..] => Some(*number),
        _ => None,
    }
}
