//! Rule D1 in the types: shares leave the process only for a final block.

use fairlane_types::{BlockId, Finalized};

/// A value made for one block that can be taken out only with the proof, in the type,
/// that this block is final. Shares may be computed before finality; a [`Finalized`]
/// exists only where a quorum of commit signatures was verified.
///
/// There is no other way to the inside: no field, no `Clone`, no codec, and `Debug` shows
/// the block only.
///
/// ```compile_fail
/// use fairlane_encryption::{Sealed, Shares};
/// fn leak(sealed: Sealed<Shares>) -> Shares {
///     sealed.value // private, and `take` asks for a `&Finalized`
/// }
/// ```
///
/// ```compile_fail
/// use fairlane_encryption::{Sealed, Shares};
/// fn leak(sealed: Sealed<Shares>) -> Result<Shares, Sealed<Shares>> {
///     sealed.take() // no token, no shares
/// }
/// ```
///
/// ```compile_fail
/// use fairlane_types::{BlockId, Finalized, Height};
/// fn forge(block: BlockId, height: Height) -> Finalized {
///     Finalized { block, height } // only certificates make one
/// }
/// ```
///
/// ```
/// use fairlane_encryption::{Sealed, Shares};
/// use fairlane_types::Finalized;
/// fn release(sealed: Sealed<Shares>, token: &Finalized) -> Option<Shares> {
///     sealed.take(token).ok()
/// }
/// ```
#[must_use = "sealed shares are of use only when taken out with a Finalized token"]
pub struct Sealed<T> {
    block: BlockId,
    value: T,
}

impl<T> Sealed<T> {
    pub(crate) fn new(block: BlockId, value: T) -> Self {
        Self { block, value }
    }

    /// The same seal around the value in another form.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Sealed<U> {
        Sealed {
            block: self.block,
            value: change(self.value),
        }
    }

    /// The block that must be final.
    #[must_use]
    pub fn block(&self) -> BlockId {
        self.block
    }

    /// Takes the value out.
    ///
    /// # Errors
    /// The seal itself, untouched, when `token` is for another block.
    pub fn take(self, token: &Finalized) -> Result<T, Self> {
        if token.block() == self.block {
            Ok(self.value)
        } else {
            Err(self)
        }
    }
}

impl<T> core::fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sealed")
            .field("block", &self.block)
            .finish_non_exhaustive()
    }
}
