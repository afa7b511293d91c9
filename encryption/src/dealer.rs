//! A dealer knows every secret: for tests, development networks and vectors only.
//! Production keys come from key generation without a dealer.

use curve25519_dalek::Scalar;
use fairlane_types::{Epoch, MemberId};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::keys::{SHARE_HOLDERS_MAX, threshold};
use crate::{EncryptionKey, KeyError, KeyShare, group};

/// Deals a key to `n` members, in the order of their ids. **Insecure**: whoever runs this
/// can open every ciphertext; the genesis must say so.
///
/// # Errors
/// [`KeyError::Members`] when `n` is 0 or over [`SHARE_HOLDERS_MAX`].
pub fn deal_insecure<R: CryptoRng + ?Sized>(
    epoch: Epoch,
    n: usize,
    rng: &mut R,
) -> Result<(EncryptionKey, Vec<KeyShare>), KeyError> {
    if n == 0 || n > SHARE_HOLDERS_MAX {
        return Err(KeyError::Members { got: n });
    }
    loop {
        let coefficients = Zeroizing::new(
            (0..threshold(n))
                .map(|_| Scalar::random(rng))
                .collect::<Vec<_>>(),
        );
        let secrets: Zeroizing<Vec<Scalar>> =
            Zeroizing::new((1..=n).map(|i| scaled_share(&coefficients, i, n)).collect());
        // Y = 2p(0)G: the 2 lets key points be encoded in batches (6.2).
        let y = group::mul_g(&(coefficients[0] + coefficients[0]))
            .compress()
            .to_bytes();
        let members = secrets
            .iter()
            .map(|x| group::mul_g(x).compress().to_bytes())
            .collect();
        let key = match EncryptionKey::new(epoch, y, members) {
            Ok(key) => key,
            // A zero secret or share: once in 2²⁴⁵ deals, and no reason to fail.
            Err(KeyError::Identity) => continue,
            Err(error) => return Err(error),
        };
        let shares = secrets
            .iter()
            .enumerate()
            .map(|(index, x)| {
                let bytes = Zeroizing::new(x.to_bytes());
                KeyShare::unchecked(MemberId(index as u8), key.id(), &bytes)
            })
            .collect::<Result<Vec<_>, _>>()?;
        return Ok((key, shares));
    }
}

/// x'ᵢ = vᵢ·p(1/i) with vᵢ = i^(t−1)·∏_{j≠i}(i−j)⁻¹ (6.2). Since i^(t−1)·p(1/i) is the
/// polynomial with its coefficients reversed, no inverse of i is needed.
fn scaled_share(coefficients: &[Scalar], i: usize, n: usize) -> Scalar {
    let x = Scalar::from(i as u64);
    let reversed = coefficients
        .iter()
        .fold(Scalar::ZERO, |value, c| value * x + c);
    let product = (1..=n).filter(|j| *j != i).fold(Scalar::ONE, |product, j| {
        product * (x - Scalar::from(j as u64))
    });
    reversed * product.invert()
}
