//! Size classes (THREATS A12): a payload is padded to one of a few lengths, so that a
//! ciphertext tells its class and nothing else. ISO/IEC 7816-4: one byte 0x80, then zeros.

use zeroize::Zeroizing;

use crate::EncryptError;

/// Lengths of a padded payload, in bytes, ascending.
pub const SIZE_CLASSES: [usize; 4] = [256, 512, 1024, 4096];

/// Longest payload, in bytes: the largest class less the marker.
pub const PAYLOAD_MAX: usize = SIZE_CLASSES[SIZE_CLASSES.len() - 1] - 1;

/// Pads to the smallest class that fits; `prefix` is put in front and not counted.
pub(crate) fn pad(prefix: &[u8], payload: &[u8]) -> Result<Zeroizing<Vec<u8>>, EncryptError> {
    let class = SIZE_CLASSES
        .into_iter()
        .find(|class| payload.len() < *class)
        .ok_or(EncryptError::PayloadTooLong {
            got: payload.len(),
            limit: PAYLOAD_MAX,
        })?;
    // Exact capacity: a reallocation would leave a copy of the plaintext behind.
    let mut padded = Zeroizing::new(Vec::with_capacity(prefix.len() + class));
    padded.extend_from_slice(prefix);
    padded.extend_from_slice(payload);
    padded.push(0x80);
    padded.resize(prefix.len() + class, 0);
    Ok(padded)
}

/// Takes the padding off; `None` when the marker is missing. Any class is accepted: a
/// sender may hide in a larger one.
pub(crate) fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let end = padded.iter().rposition(|byte| *byte != 0)?;
    (padded[end] == 0x80).then(|| &padded[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_pads_to_its_class_and_back() {
        for len in (0..=300).chain([511, 512, 1023, 1024, 4094, PAYLOAD_MAX]) {
            for fill in [0x00, 0x80, 0xa5] {
                let payload = vec![fill; len];
                let padded = pad(&[7; 32], &payload).unwrap();
                let class = padded.len() - 32;
                assert!(SIZE_CLASSES.contains(&class) && class > len);
                assert!(
                    SIZE_CLASSES
                        .iter()
                        .all(|other| *other >= class || *other <= len)
                );
                assert_eq!(unpad(&padded[32..]), Some(&payload[..]));
            }
        }
        let got = PAYLOAD_MAX + 1;
        let refused = EncryptError::PayloadTooLong {
            got,
            limit: PAYLOAD_MAX,
        };
        assert_eq!(pad(&[], &vec![0; got]).unwrap_err(), refused);
    }

    #[test]
    fn padding_without_marker_is_refused() {
        assert_eq!(unpad(&[]), None);
        assert_eq!(unpad(&[0; 256]), None);
        assert_eq!(unpad(&[0x81, 0, 0]), None);
        assert_eq!(unpad(&[1, 2, 3]), None);
        assert_eq!(unpad(&[0x80]), Some(&[][..]));
        assert_eq!(unpad(&[0x80, 0x80]), Some(&[0x80][..]));
    }
}
