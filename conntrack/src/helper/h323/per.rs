// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A reader of the packed encoding rules (ITU-T X.691, aligned), as far as messages of H.323 need them. It
//! allocates nothing, and every step uses up some of the message.

use std::ops::Range;

/// A message that cannot be followed: it ends too early, or has a length of more than 16,383.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) type Result<T> = std::result::Result<T, Malformed>;

/// The types of values that are passed over. A list must not have items without bits.
#[derive(Debug)]
pub(super) enum Shape {
    /// No bits: NULL.
    Nothing,
    /// A number of bits that are not aligned.
    Bits(u8),
    /// A number of aligned octets.
    Octets(u8),
    /// An INTEGER of more than 65,536 values.
    Long,
    /// An OBJECT IDENTIFIER or a string of any length.
    Any,
    /// A string: the number of bits of its length, the least length, and the bits of a character.
    String { length: u8, least: u8, unit: u8 },
    /// A SEQUENCE: whether it is extensible, and its fields with whether they are optional.
    Sequence(bool, &'static [(bool, Shape)]),
    /// A SEQUENCE OF.
    List(&'static Shape),
    /// A CHOICE: whether it is extensible, and its alternatives.
    Choice(bool, &'static [Shape]),
}

/// The alternative of a CHOICE.
pub(super) enum Chosen<'a> {
    /// One that every version has.
    Root(usize),
    /// One of a later version, the first of which is 0.
    Added(usize, Reader<'a>),
}

/// The optional fields of a SEQUENCE that follow.
pub(super) struct Optional {
    bits: u32,
    left: u32,
}

impl Optional {
    /// Reports whether the next optional field is there.
    pub(super) fn next(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.bits >> self.left & 1 == 1
    }
}

/// A reader of some octets of a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    octets: &'a [u8],
    /// The place of the first octet in the payload.
    start: usize,
    /// The next bit.
    bit: usize,
}

impl<'a> Reader<'a> {
    /// A reader of a part of a payload.
    pub(super) fn new(payload: &'a [u8], part: Range<usize>) -> Result<Self> {
        Ok(Reader {
            start: part.start,
            octets: payload.get(part).ok_or(Malformed)?,
            bit: 0,
        })
    }

    /// Reads at most 32 bits.
    pub(super) fn bits(&mut self, count: u32) -> Result<u32> {
        let end = self.bit + count as usize;
        if end > self.octets.len() * 8 {
            return Err(Malformed);
        }
        let mut value = 0;
        while self.bit < end {
            let (octet, within) = (self.octets[self.bit / 8], self.bit % 8);
            let taken = (8 - within).min(end - self.bit);
            let part = u32::from(octet) >> (8 - within - taken) & ((1 << taken) - 1);
            value = value << taken | part;
            self.bit += taken;
        }
        Ok(value)
    }

    /// The next 8 bits, which are read again.
    pub(super) fn peek(mut self) -> Result<u32> {
        self.bits(8)
    }

    pub(super) fn flag(&mut self) -> Result<bool> {
        Ok(self.bits(1)? == 1)
    }

    fn align(&mut self) {
        self.bit = self.bit.next_multiple_of(8);
    }

    /// Passes over aligned octets, and returns their place in the payload.
    pub(super) fn octets(&mut self, count: usize) -> Result<Range<usize>> {
        self.align();
        let first = self.bit / 8;
        let end = first
            .checked_add(count)
            .filter(|end| *end <= self.octets.len());
        self.bit = end.ok_or(Malformed)? * 8;
        Ok(self.start + first..self.start + first + count)
    }

    /// Reads a length, or a number of items.
    pub(super) fn length(&mut self) -> Result<usize> {
        self.align();
        let length = self.bits(8)?;
        let length = match length >> 6 {
            0 | 1 => length,
            2 => (length & 0x3f) << 8 | self.bits(8)?,
            _ => return Err(Malformed),
        };
        Ok(length as usize)
    }

    /// A reader of a value that has its length before it, behind which this one goes on.
    pub(super) fn open(&mut self) -> Result<Reader<'a>> {
        let length = self.length()?;
        let Range { start, end } = self.octets(length)?;
        Ok(Reader {
            octets: &self.octets[start - self.start..end - self.start],
            start,
            bit: 0,
        })
    }

    /// Reads an INTEGER of more than 65,536 values, from its least value on.
    pub(super) fn long(&mut self) -> Result<u32> {
        let count = self.bits(2)? + 1;
        self.align();
        self.bits(8 * count)
    }

    /// Begins an extensible SEQUENCE: returns whether it has additions, and its optional fields.
    pub(super) fn sequence(&mut self, optional: u32) -> Result<(bool, Optional)> {
        let has_additions = self.flag()?;
        let bits = self.bits(optional)?;
        let left = optional;
        Ok((has_additions, Optional { bits, left }))
    }

    /// Reads the additions of a SEQUENCE: `each` gets those that are there with their numbers, from 0 on.
    pub(super) fn additions(
        &mut self,
        mut each: impl FnMut(usize, Reader<'a>) -> Result<()>,
    ) -> Result<()> {
        let count = self.small_number()? + 1;
        let mut present = 0_u64;
        for number in 0..count {
            present |= u64::from(self.flag()?) << number;
        }
        for number in (0..count).filter(|number| present >> number & 1 == 1) {
            let value = self.open()?;
            each(number, value)?;
        }
        Ok(())
    }

    /// Reads a number of less than 64 that is rarely larger.
    fn small_number(&mut self) -> Result<usize> {
        match self.bits(7)? {
            number @ 0..64 => Ok(number as usize),
            _ => Err(Malformed),
        }
    }

    /// Reads which of `count` alternatives an extensible CHOICE has.
    pub(super) fn choice(&mut self, count: usize) -> Result<Chosen<'a>> {
        if self.flag()? {
            let number = self.small_number()?;
            return Ok(Chosen::Added(number, self.open()?));
        }
        Ok(Chosen::Root(self.index(count)?))
    }

    /// Reads which of `count` alternatives a CHOICE has.
    fn index(&mut self, count: usize) -> Result<usize> {
        let bits = count.next_power_of_two().trailing_zeros();
        let index = self.bits(bits)? as usize;
        (index < count).then_some(index).ok_or(Malformed)
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, shape: &Shape) -> Result<()> {
        match *shape {
            Shape::Nothing => {}
            Shape::Bits(count) => {
                self.bits(count.into())?;
            }
            Shape::Octets(count) => {
                self.octets(count.into())?;
            }
            Shape::Long => {
                self.long()?;
            }
            Shape::Any => {
                self.open()?;
            }
            Shape::String {
                length,
                least,
                unit,
            } => {
                if length == 8 {
                    self.align();
                }
                let length = self.bits(length.into())? as usize + usize::from(least);
                let bits = length * usize::from(unit);
                self.align();
                self.octets(bits / 8)?;
                self.bits((bits % 8) as u32)?;
            }
            Shape::Sequence(is_extensible, fields) => {
                let has_additions = is_extensible && self.flag()?;
                let optional = fields.iter().filter(|(is_optional, _)| *is_optional);
                let optional = optional.count() as u32;
                let bits = self.bits(optional)?;
                let mut present = Optional {
                    bits,
                    left: optional,
                };
                for (is_optional, field) in fields {
                    if !is_optional || present.next() {
                        self.skip(field)?;
                    }
                }
                if has_additions {
                    self.additions(|_, _| Ok(()))?;
                }
            }
            Shape::List(item) => self.skip_list(item)?,
            Shape::Choice(is_extensible, alternatives) => {
                if is_extensible && self.flag()? {
                    self.small_number()?;
                    self.open()?;
                } else {
                    let index = self.index(alternatives.len())?;
                    self.skip(&alternatives[index])?;
                }
            }
        }
        Ok(())
    }

    /// Passes over a SEQUENCE OF.
    pub(super) fn skip_list(&mut self, item: &Shape) -> Result<()> {
        for _ in 0..self.length()? {
            self.skip(item)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(octets: &[u8]) -> Reader<'_> {
        Reader::new(octets, 0..octets.len()).unwrap()
    }

    #[test]
    fn bits_cross_octets() {
        let mut reader = reader(&[0b1010_0110, 0b1111_0000, 0xff]);
        assert_eq!(reader.bits(3), Ok(0b101));
        assert_eq!(reader.bits(0), Ok(0));
        assert_eq!(reader.bits(7), Ok(0b001_1011));
        assert_eq!(reader.octets(1), Ok(2..3));
        assert_eq!(reader.bits(1), Err(Malformed));
        let all = super::tests::reader(&[0x12, 0x34, 0x56, 0x78]).bits(32);
        assert_eq!(all, Ok(0x1234_5678));
    }

    #[test]
    fn lengths_have_one_or_two_octets() {
        assert_eq!(reader(&[0x7f]).length(), Ok(127));
        assert_eq!(reader(&[0x81, 0x02]).length(), Ok(0x102));
        assert_eq!(reader(&[0xc1, 0]).length(), Err(Malformed));
        let mut open = reader(&[2, 5, 6, 7]);
        let mut inner = open.open().unwrap();
        assert_eq!((inner.octets(2), inner.flag()), (Ok(1..3), Err(Malformed)));
        assert_eq!(open.bits(8), Ok(7));
        assert!(reader(&[2, 5]).open().is_err());
    }

    #[test]
    fn additions_have_numbers() {
        // Three, of which the first and the last are there.
        let mut all = reader(&[0b0000_0101, 0b0100_0000, 1, 0xaa, 2, 0xbb, 0xcc]);
        let mut seen = Vec::new();
        let each = |number, mut value: Reader<'_>| {
            seen.push((number, value.bits(8)?));
            Ok(())
        };
        all.additions(each).unwrap();
        assert_eq!(seen, [(0, 0xaa), (2, 0xbb)]);
        assert!(all.flag().is_err());
    }

    #[test]
    fn shapes_are_passed_over() {
        const SHAPE: Shape = Shape::Sequence(
            true,
            &[
                (false, Shape::Bits(1)),
                (
                    true,
                    Shape::String {
                        length: 7,
                        least: 1,
                        unit: 4,
                    },
                ),
                (true, Shape::Long),
                (false, Shape::Choice(true, &[Shape::Nothing, Shape::Any])),
            ],
        );
        // No additions, the string only; 1; three digits; the second alternative with one octet.
        let mut reader = reader(&[0b0101_0000, 0b0100_0000, 0x12, 0x34, 1, 9, 0x80]);
        reader.skip(&SHAPE).unwrap();
        assert_eq!(reader.bits(8), Ok(0x80));
    }
}
