// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Arithmetic on integers of any width: 64-bit limbs, the least significant first, bits above the
//! width 0. Single-limb values are handled by the machine itself.

use std::cmp::Ordering;

/// The mask of the highest limb of a value of that width.
pub(super) const fn top_mask(width: u32) -> u64 {
    match width % 64 {
        0 if width == 0 => 0,
        0 => u64::MAX,
        n => (1 << n) - 1,
    }
}

/// The mask of a value of at most 64 bits.
pub(super) const fn mask(width: u32) -> u64 {
    if width >= 64 {
        u64::MAX
    } else {
        (1 << width) - 1
    }
}

/// Sign-extends a value of one limb.
pub(super) const fn signed(value: u64, width: u32) -> i64 {
    match width {
        0 => 0,
        1..=63 => ((value << (64 - width)) as i64) >> (64 - width),
        _ => value as i64,
    }
}

/// Clears the bits above the width.
pub(super) fn trim(value: &mut [u64], width: u32) {
    if let Some(top) = value.last_mut() {
        *top &= top_mask(width);
    }
}

pub(super) fn negative(value: &[u64], width: u32) -> bool {
    width > 0 && bit(value, width - 1)
}

pub(super) fn bit(value: &[u64], at: u32) -> bool {
    value
        .get(at as usize / 64)
        .is_some_and(|limb| limb >> (at % 64) & 1 == 1)
}

/// Computes `out = a + b`. Returns the carry out of the width.
pub(super) fn add(out: &mut [u64], a: &[u64], b: &[u64], width: u32) -> bool {
    let mut carry = false;
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        let (sum, first) = a.overflowing_add(*b);
        let (sum, second) = sum.overflowing_add(carry.into());
        (*out, carry) = (sum, first | second);
    }
    let over = match width % 64 {
        0 => carry,
        n => out.last().is_some_and(|top| top >> n != 0),
    };
    trim(out, width);
    over
}

/// Computes `out = a - b`. Returns whether `a < b`.
pub(super) fn sub(out: &mut [u64], a: &[u64], b: &[u64], width: u32) -> bool {
    let mut borrow = false;
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        let (rest, first) = a.overflowing_sub(*b);
        let (rest, second) = rest.overflowing_sub(borrow.into());
        (*out, borrow) = (rest, first | second);
    }
    trim(out, width);
    borrow
}

pub(super) fn mul(out: &mut [u64], a: &[u64], b: &[u64], width: u32) {
    out.fill(0);
    for (i, a) in a.iter().enumerate() {
        let mut carry = 0u128;
        for (out, b) in out.iter_mut().skip(i).zip(b) {
            let product = u128::from(*a) * u128::from(*b) + u128::from(*out) + carry;
            *out = product as u64;
            carry = product >> 64;
        }
    }
    trim(out, width);
}

/// Computes quotient and remainder, bit by bit; both are 0 if the divisor is.
pub(super) fn div_rem(quotient: &mut [u64], rest: &mut [u64], a: &[u64], b: &[u64], width: u32) {
    quotient.fill(0);
    rest.fill(0);
    if b.iter().all(|limb| *limb == 0) {
        return;
    }
    for at in (0..width).rev() {
        let lost = rest.last().is_some_and(|top| top >> 63 == 1);
        shift_left_one(rest);
        if let Some(low) = rest.first_mut() {
            *low |= u64::from(bit(a, at));
        }
        if lost || compare(rest, b) != Ordering::Less {
            let mut borrow = false;
            for (rest, b) in rest.iter_mut().zip(b) {
                let (value, first) = rest.overflowing_sub(*b);
                let (value, second) = value.overflowing_sub(borrow.into());
                (*rest, borrow) = (value, first | second);
            }
            if let Some(limb) = quotient.get_mut(at as usize / 64) {
                *limb |= 1 << (at % 64);
            }
        }
    }
}

fn shift_left_one(value: &mut [u64]) {
    let mut carry = 0;
    for limb in value {
        let next = *limb >> 63;
        *limb = *limb << 1 | carry;
        carry = next;
    }
}

pub(super) fn compare(a: &[u64], b: &[u64]) -> Ordering {
    a.iter().rev().cmp(b.iter().rev())
}

pub(super) fn compare_signed(a: &[u64], b: &[u64], width: u32) -> Ordering {
    match (negative(a, width), negative(b, width)) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        _ => compare(a, b),
    }
}

/// Computes `out = a << amount`, truncated to the width.
pub(super) fn shl(out: &mut [u64], a: &[u64], amount: u32, width: u32) {
    let (limbs, bits) = (amount as usize / 64, amount % 64);
    for n in (0..out.len()).rev() {
        let get = |n: Option<usize>| n.and_then(|n| a.get(n)).copied().unwrap_or(0);
        let high = get(n.checked_sub(limbs));
        let low = get(n.checked_sub(limbs + 1));
        out[n] = match bits {
            0 => high,
            _ => high << bits | low >> (64 - bits),
        };
    }
    trim(out, width);
}

/// Computes `out = a >> amount`, filled with zeros.
pub(super) fn shr(out: &mut [u64], a: &[u64], amount: u32) {
    let (limbs, bits) = (amount as usize / 64, amount % 64);
    for (n, out) in out.iter_mut().enumerate() {
        let get = |n: usize| a.get(n).copied().unwrap_or(0);
        let (low, high) = (get(n + limbs), get(n + limbs + 1));
        *out = match bits {
            0 => low,
            _ => low >> bits | high << (64 - bits),
        };
    }
}

/// Sets the bits from `from` to below `to`.
pub(super) fn set_ones(value: &mut [u64], from: u32, to: u32) {
    for at in from..to {
        if let Some(limb) = value.get_mut(at as usize / 64) {
            *limb |= 1 << (at % 64);
        }
    }
}

/// Replaces the `bits` bits of `out` at `low` by the low bits of `a`.
pub(super) fn insert(out: &mut [u64], a: &[u64], low: u32, bits: u32) {
    let mut done = 0;
    while done < bits {
        let take = (64 - (low + done) % 64)
            .min(64 - done % 64)
            .min(bits - done);
        let from = a.get(done as usize / 64).copied().unwrap_or(0) >> (done % 64) & mask(take);
        let at = low + done;
        if let Some(limb) = out.get_mut(at as usize / 64) {
            let shift = at % 64;
            *limb = *limb & !(mask(take) << shift) | from << shift;
        }
        done += take;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wide(value: u128) -> [u64; 2] {
        [value as u64, (value >> 64) as u64]
    }

    fn narrow(limbs: &[u64; 2]) -> u128 {
        u128::from(limbs[0]) | u128::from(limbs[1]) << 64
    }

    proptest! {
        #[test]
        fn two_limbs_are_a_u128(a: u128, b: u128, width in 65u32..=128, n in 0u32..140) {
            let cut = |v: u128| v & (u128::MAX >> (128 - width));
            let (a, b) = (cut(a), cut(b));
            let (x, y) = (wide(a), wide(b));
            let mut out = [0; 2];
            let carry = add(&mut out, &x, &y, width);
            prop_assert_eq!(narrow(&out), cut(a.wrapping_add(b)));
            prop_assert_eq!(carry, cut(a.wrapping_add(b)) < a);
            let borrow = sub(&mut out, &x, &y, width);
            prop_assert_eq!((narrow(&out), borrow), (cut(a.wrapping_sub(b)), a < b));
            mul(&mut out, &x, &y, width);
            prop_assert_eq!(narrow(&out), cut(a.wrapping_mul(b)));
            shl(&mut out, &x, n, width);
            prop_assert_eq!(narrow(&out), cut(a.checked_shl(n).unwrap_or(0)));
            shr(&mut out, &x, n);
            prop_assert_eq!(narrow(&out), a.checked_shr(n).unwrap_or(0));
            let mut rest = [0; 2];
            div_rem(&mut out, &mut rest, &x, &y, width);
            let (q, r) = (a.checked_div(b).unwrap_or(0), a.checked_rem(b).unwrap_or(0));
            prop_assert_eq!((narrow(&out), narrow(&rest)), (q, r));
            prop_assert_eq!(compare(&x, &y), a.cmp(&b));
            let sign = |v: u128| ((v << (128 - width)) as i128) >> (128 - width);
            prop_assert_eq!(compare_signed(&x, &y, width), sign(a).cmp(&sign(b)));
        }

        #[test]
        fn inserted_bits_replace_those_there(a: u128, b: u128, low in 0u32..128, bits in 1u32..128) {
            prop_assume!(low + bits <= 128);
            let mut out = wide(a);
            insert(&mut out, &wide(b), low, bits);
            let ones = u128::MAX >> (128 - bits);
            prop_assert_eq!(narrow(&out), a & !(ones << low) | (b & ones) << low);
        }
    }
}
