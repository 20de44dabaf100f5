// SPDX-License-Identifier: Apache-2.0 OR MIT
//! P4Runtime byte strings: most significant byte first, as short as possible but never empty.

/// The error for a byte string that is empty or too wide.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ByteError {
    /// An empty byte string.
    #[error("an empty byte string is no value")]
    Empty,
    /// A value of too many bits.
    #[error("the value {value} does not fit into {width} bits")]
    Width {
        /// The value in hexadecimal digits.
        value: String,
        /// The width in bits.
        width: u32,
    },
}

/// The maximum number of bytes of a value that messages show.
const MAX_SHOWN: usize = 32;

/// A byte string in hexadecimal digits, for messages: `0x1ff`. The middle of long ones is left out.
pub fn hex(bytes: &[u8]) -> String {
    let digits = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let short = shortest(bytes);
    match short.len() {
        0 => "(empty)".to_owned(),
        1..=MAX_SHOWN => format!("0x{}", digits(short)),
        length => format!(
            "0x{}…{} ({length} bytes)",
            digits(&short[..MAX_SHOWN / 2]),
            digits(&short[length - 4..])
        ),
    }
}

/// Returns the bytes without leading zeros; the last byte is kept.
pub fn shortest(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros.min(bytes.len().saturating_sub(1))..]
}

/// Converts a byte string to limbs, least significant first. Leading zeros are accepted.
pub fn limbs(bytes: &[u8], width: u32) -> Result<Vec<u64>, ByteError> {
    if bytes.is_empty() {
        return Err(ByteError::Empty);
    }
    let digits = shortest(bytes);
    let used = digits.len() as u64 * 8 - u64::from(digits[0].leading_zeros());
    if used > u64::from(width) {
        return Err(ByteError::Width {
            value: hex(digits),
            width,
        });
    }
    let mut limbs: Vec<u64> = digits
        .rchunks(8)
        .map(|chunk| {
            chunk
                .iter()
                .fold(0, |limb, byte| limb << 8 | u64::from(*byte))
        })
        .collect();
    limbs.resize(width.div_ceil(64).max(1) as usize, 0);
    Ok(limbs)
}

/// Returns the shortest byte string of a value.
pub fn from_limbs(limbs: &[u64]) -> Vec<u8> {
    let bytes: Vec<u8> = limbs.iter().rev().flat_map(|l| l.to_be_bytes()).collect();
    match bytes.is_empty() {
        true => vec![0],
        false => shortest(&bytes).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(limbs(&[], 8), Err(ByteError::Empty));
        let error = limbs(&[0, 2, 0], 9).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the value 0x0200 does not fit into 9 bits"
        );
        let error = limbs(&[1; 100_000], 9).unwrap_err().to_string();
        assert!(
            error.len() < 100 && error.contains("(100000 bytes)"),
            "{error}"
        );
        assert_eq!(limbs(&[0, 0, 1, 0xFF], 9), Ok(vec![0x1FF]));
        assert_eq!(limbs(&[0], 128), Ok(vec![0, 0]));
    }

    proptest! {
        #[test]
        fn values_come_back_as_short_as_can_be(bytes in prop::collection::vec(any::<u8>(), 1..40)) {
            let limbs = limbs(&bytes, 320).unwrap();
            prop_assert_eq!(from_limbs(&limbs), shortest(&bytes));
        }
    }
}
