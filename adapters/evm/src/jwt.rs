//! Tokens for the Engine API: JWT with HS256 over a secret that both sides have in a file,
//! and the time it was made (execution-apis, engine/authentication).

use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::EngineError;

/// `{"alg":"HS256","typ":"JWT"}`.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// The shared secret. Not printed, wiped when dropped.
pub struct JwtSecret(Zeroizing<[u8; 32]>);

impl JwtSecret {
    /// Of 64 hexadecimal digits, with or without `0x`, as execution clients write them.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("0x").unwrap_or(text);
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text, &mut *bytes).ok()?;
        Some(Self(bytes))
    }

    /// Reads the file that the execution client was started with.
    ///
    /// # Errors
    /// [`EngineError::Secret`].
    pub fn read(path: &Path) -> Result<Self, EngineError> {
        let wrong = |why: String| EngineError::Secret(format!("{} ({why})", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let text = Zeroizing::new(text);
        Self::from_hex(&text).ok_or_else(|| wrong("not 64 digits".into()))
    }

    /// A token made at a time, in seconds since 1970. Engines take it for a minute.
    #[must_use]
    pub fn token(&self, issued_at: u64) -> String {
        let claims = base64url(format!("{{\"iat\":{issued_at}}}").as_bytes());
        let signed = format!("{HEADER}.{claims}");
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0)
            .expect("invariant: HMAC takes keys of any length");
        mac.update(signed.as_bytes());
        let tag = base64url(&mac.finalize().into_bytes());
        format!("{signed}.{tag}")
    }
}

/// Base64 for addresses, without padding (RFC 4648 §5).
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for digit in 0..=chunk.len() {
            let at = bits >> (18 - 6 * digit) & 63;
            text.push(char::from(DIGITS[at as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64url(plain.as_bytes()), coded);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        assert_eq!(base64url(br#"{"alg":"HS256","typ":"JWT"}"#), HEADER);
    }

    #[test]
    fn a_secret_is_32_bytes_in_hexadecimal() {
        let digits = "0f".repeat(32);
        for good in [
            digits.clone(),
            format!("0x{digits}\n"),
            format!(" {digits}"),
        ] {
            assert!(JwtSecret::from_hex(&good).is_some(), "{good:?}");
        }
        for bad in [
            "",
            "0x",
            &digits[1..],
            &format!("{digits}00"),
            &"zz".repeat(32),
        ] {
            assert!(JwtSecret::from_hex(bad).is_none(), "{bad:?}");
        }
    }
}
