// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values of YAML, with a bound: aliases repeat anchors, and a small file could be a value that no memory
//! holds.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use yaml_serde::{Mapping, Value};

/// Reads a value. It takes a byte of `left` for each value in it, and one for each byte of a string.
///
/// # Errors
/// Fails when it is no value, or `left` is not enough.
pub(super) fn read<'de, D: Deserializer<'de>>(
    from: D,
    left: &Cell<usize>,
) -> Result<Value, D::Error> {
    Bounded(left).deserialize(from)
}

/// A reader, with the bytes that are left for it.
#[derive(Clone, Copy)]
struct Bounded<'b>(&'b Cell<usize>);

impl Bounded<'_> {
    fn take<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(bytes + 1);
        let Some(left) = left else {
            return Err(E::custom("aliases repeat more than the file has"));
        };
        self.0.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_bool<E: Error>(self, it: bool) -> Result<Value, E> {
        self.take::<E>(0)?;
        Ok(Value::from(it))
    }

    fn visit_i64<E: Error>(self, it: i64) -> Result<Value, E> {
        self.take::<E>(0)?;
        Ok(Value::from(it))
    }

    fn visit_u64<E: Error>(self, it: u64) -> Result<Value, E> {
        self.take::<E>(0)?;
        Ok(Value::from(it))
    }

    fn visit_f64<E: Error>(self, it: f64) -> Result<Value, E> {
        self.take::<E>(0)?;
        Ok(Value::from(it))
    }

    fn visit_str<E: Error>(self, it: &str) -> Result<Value, E> {
        self.take::<E>(it.len())?;
        Ok(Value::from(it))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.take::<E>(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        self.deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        self.take::<A::Error>(0)?;
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        self.take::<A::Error>(0)?;
        let mut fields = Mapping::new();
        while let Some(key) = from.next_key_seed(self)? {
            let value = from.next_value_seed(self)?;
            if fields.insert(key, value).is_some() {
                return Err(A::Error::custom("a mapping has a key twice"));
            }
        }
        Ok(Value::Mapping(fields))
    }

    /// Reads a value with a tag, which no object has a use for.
    fn visit_enum<A: EnumAccess<'de>>(self, from: A) -> Result<Value, A::Error> {
        let (IgnoredAny, value) = from.variant::<IgnoredAny>()?;
        value.newtype_variant_seed(self)
    }
}
