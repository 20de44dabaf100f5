// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers in the text of announcements.

/// The number that the decimal digits at the beginning of a text are, and how many they are
/// (`simple_strtoul`). A number above 32 bits is the largest one.
pub(super) fn number(text: &[u8]) -> (u32, usize) {
    let digits = text.iter().take_while(|octet| octet.is_ascii_digit());
    digits.fold((0u32, 0), |(number, count), digit| {
        let next = number.saturating_mul(10);
        (next.saturating_add(u32::from(digit - b'0')), count + 1)
    })
}
