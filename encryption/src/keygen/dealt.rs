//! What can be dealt: the group of a key, the domain of its dealings, and how the key and its
//! shares come of them.

use fairlane_types::{Epoch, KeyId, MemberId};
use zeroize::Zeroizing;

use super::curve::{Bls, Curve, Ristretto, evaluate_committed};
use crate::keys::threshold;
use crate::{EncryptionKey, KeyError, KeyShare, PairingKey, PairingShare, Purpose};

/// A threshold key that a ceremony makes or deals on.
pub(crate) trait Dealt: Sized {
    /// The group that its polynomial is dealt in.
    type Curve: Curve;
    /// One member's share of it.
    type Share;
    /// Domain of the hashes of its dealings: no part of another key passes for one of it.
    const DEALING: &'static str;

    /// Identity of the key.
    fn id(&self) -> KeyId;

    /// Identity of this sharing of it.
    fn sharing(&self) -> KeyId;

    /// Whether a point commits to what this member holds: its value of the polynomial.
    fn commits(&self, member: MemberId, point: &<Self::Curve as Curve>::Point) -> bool;

    /// What a member holds, if this is its share of the key.
    fn held(
        &self,
        member: MemberId,
        share: &Self::Share,
    ) -> Option<Zeroizing<<Self::Curve as Curve>::Scalar>>;

    /// The key of `n` members from commitments to the polynomial; `id` is that of the key which
    /// it is a new sharing of.
    fn committed(
        id: Option<KeyId>,
        epoch: Epoch,
        n: usize,
        commitments: &[<Self::Curve as Curve>::Point],
    ) -> Result<Self, KeyError>;

    /// A member's share from its value of the polynomial.
    fn share(
        &self,
        member: MemberId,
        value: &<Self::Curve as Curve>::Scalar,
    ) -> Result<Self::Share, KeyError>;
}

/// Suite 0x01. What members hold is scaled (6.2), and the point is twice the commitment.
impl Dealt for EncryptionKey {
    type Curve = Ristretto;
    type Share = KeyShare;
    const DEALING: &'static str = "FAIRLANE-V1-DEAL";

    fn id(&self) -> KeyId {
        self.id()
    }

    fn sharing(&self) -> KeyId {
        self.sharing()
    }

    fn commits(&self, member: MemberId, point: &<Ristretto as Curve>::Point) -> bool {
        let scaled = point * scale(member.index(), self.n());
        self.member_point(member) == Some(&scaled)
    }

    /// p(αᵢ) = x'ᵢ/vᵢ.
    fn held(
        &self,
        member: MemberId,
        share: &KeyShare,
    ) -> Option<Zeroizing<<Ristretto as Curve>::Scalar>> {
        let its = share.member() == member && share.belongs_to(self).is_ok();
        let unscale = || scale(member.index(), self.n()).invert();
        its.then(|| Zeroizing::new(share.secret() * unscale()))
    }

    fn committed(
        id: Option<KeyId>,
        epoch: Epoch,
        n: usize,
        commitments: &[<Ristretto as Curve>::Point],
    ) -> Result<Self, KeyError> {
        let member = |member: usize| {
            let point = evaluate_committed::<Ristretto>(commitments, Ristretto::node(member));
            Ristretto::encode(&(point * scale(member, n)))
        };
        let y = Ristretto::encode(&(commitments[0] + commitments[0]));
        let members = (0..n).map(member).collect();
        match id {
            None => Self::new(epoch, y, members),
            Some(id) => Self::reshared(id, epoch, y, members),
        }
    }

    fn share(
        &self,
        member: MemberId,
        value: &<Ristretto as Curve>::Scalar,
    ) -> Result<KeyShare, KeyError> {
        let scaled = Zeroizing::new(value * scale(member.index(), self.n()));
        KeyShare::new(self, member, &Zeroizing::new(scaled.to_bytes()))
    }
}

/// Suite 0x02 and the certificate key: commitments and values as they are, told apart by purpose.
impl<P: Purpose> Dealt for PairingKey<P> {
    type Curve = Bls;
    type Share = PairingShare<P>;
    const DEALING: &'static str = P::DEALING;

    fn id(&self) -> KeyId {
        self.id()
    }

    fn sharing(&self) -> KeyId {
        self.sharing()
    }

    fn commits(&self, member: MemberId, point: &<Bls as Curve>::Point) -> bool {
        self.verification_key(member) == Some(Bls::encode(point))
    }

    fn held(
        &self,
        member: MemberId,
        share: &PairingShare<P>,
    ) -> Option<Zeroizing<<Bls as Curve>::Scalar>> {
        let its = share.member() == member && share.belongs_to(self).is_ok();
        let value = || Bls::decode_scalar(&share.expose_secret());
        its.then(value).flatten().map(Zeroizing::new)
    }

    fn committed(
        id: Option<KeyId>,
        epoch: Epoch,
        n: usize,
        commitments: &[<Bls as Curve>::Point],
    ) -> Result<Self, KeyError> {
        let coefficients = commitments.iter().map(Bls::encode).collect();
        match id {
            None => Self::new(epoch, n, coefficients),
            Some(id) => Self::reshared(id, epoch, n, coefficients),
        }
    }

    fn share(
        &self,
        member: MemberId,
        value: &<Bls as Curve>::Scalar,
    ) -> Result<PairingShare<P>, KeyError> {
        PairingShare::new(self, member, &Zeroizing::new(Bls::encode_scalar(value)))
    }
}

/// vᵢ = i^(t−1)·∏_{j≠i}(i−j)⁻¹ of 6.2, for share index i = member + 1.
fn scale(member: usize, n: usize) -> <Ristretto as Curve>::Scalar {
    let i = Ristretto::scalar(member as u64 + 1);
    let power: <Ristretto as Curve>::Scalar = (1..threshold(n)).map(|_| i).product();
    let differences: <Ristretto as Curve>::Scalar = (0..n)
        .filter(|j| *j != member)
        .map(|j| i - Ristretto::scalar(j as u64 + 1))
        .product();
    power * differences.invert()
}
