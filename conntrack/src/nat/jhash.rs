// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bob Jenkins' hash of words (lookup3), by which Linux chooses an address of a range
//! (`include/linux/jhash.h`). With the same hash the same client gets the same address.

/// The hash of at least one word.
pub(super) fn jhash2(words: &[u32], initial: u32) -> u32 {
    let start = 0xdead_beef_u32
        .wrapping_add((words.len() as u32) << 2)
        .wrapping_add(initial);
    let [mut a, mut b, mut c] = [start; 3];
    let mut rest = words;
    while rest.len() > 3 {
        a = a.wrapping_add(rest[0]);
        b = b.wrapping_add(rest[1]);
        c = c.wrapping_add(rest[2]);
        for shift in [4, 6, 8, 16, 19, 4] {
            a = a.wrapping_sub(c) ^ c.rotate_left(shift);
            c = c.wrapping_add(b);
            // Each step does to the next word what this one did to `a`.
            (a, b, c) = (b, c, a);
        }
        rest = &rest[3..];
    }
    c = c.wrapping_add(rest.get(2).copied().unwrap_or(0));
    b = b.wrapping_add(rest.get(1).copied().unwrap_or(0));
    a = a.wrapping_add(rest.first().copied().unwrap_or(0));
    for (shift_c, shift_a, shift_b) in [(14, 11, 25), (16, 4, 14)] {
        c = (c ^ b).wrapping_sub(b.rotate_left(shift_c));
        a = (a ^ c).wrapping_sub(c.rotate_left(shift_a));
        b = (b ^ a).wrapping_sub(a.rotate_left(shift_b));
    }
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the kernel's function.
    #[test]
    fn hashes_are_the_kernels() {
        assert_eq!(jhash2(&[0x0100_000a, 0, 0, 0], 0), 0x44dd_116c);
        assert_eq!(jhash2(&[1, 2, 3, 4], 0x1234_5678), 0x2d00_1f70);
    }
}
