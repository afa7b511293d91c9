//! Which keys and sources of keys make a genesis.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use fairlane_types::{
    CertificateParams, ChainId, Digest, EncryptionParams, Genesis, GenesisError, KeyId, KeySource,
    Millis, OrderRule, ReceiverBytes, Scheme, SecretKey, TieSource,
};

fn genesis(encryption: EncryptionParams, certificates: Option<CertificateParams>) -> Genesis {
    let member = |seed| SecretKey::from_seed([seed; 32]).public();
    Genesis {
        chain: ChainId(7),
        time: Millis(1),
        start: None,
        experiment: true,
        members: (1..5).map(member).collect(),
        encryption,
        certificates,
        lanes: Default::default(),
        consensus: Default::default(),
        order: Default::default(),
    }
}

fn made() -> EncryptionParams {
    made_of(Scheme::Tdh2)
}

fn made_of(scheme: Scheme) -> EncryptionParams {
    EncryptionParams::ceremony(scheme, vec![ReceiverBytes([1; 32]); 4])
}

fn dealt() -> EncryptionParams {
    EncryptionParams::dealt(Scheme::Tdh2, KeyId(Digest([2; 32])), vec![3; 172])
}

/// Both keys come from the members, or both from a dealer.
#[test]
fn one_source_for_both_keys() {
    let dealer = || Some(CertificateParams::dealt(vec![4; 156]));
    let ceremony = || Some(CertificateParams::ceremony());
    for (encryption, certificates) in [
        (made(), ceremony()),
        (made(), None),
        (made_of(Scheme::BaekZheng), ceremony()),
        (dealt(), dealer()),
        (dealt(), None),
    ] {
        let genesis = genesis(encryption, certificates);
        assert!(genesis.validate().is_ok());
        let json = serde_json::to_string(&genesis).unwrap();
        let again: Genesis = serde_json::from_str(&json).unwrap();
        assert_eq!((again.hash(), &again), (genesis.hash(), &genesis));
    }
    let apart = "certificates.source must be that of the encryption key";
    for (encryption, certificates) in [(made(), dealer()), (dealt(), ceremony())] {
        let refused = genesis(encryption, certificates).validate();
        assert_eq!(refused.unwrap_err(), GenesisError::Key(apart));
    }
    let early = CertificateParams {
        source: KeySource::Ceremony,
        ..CertificateParams::dealt(vec![4; 156])
    };
    let refused = genesis(made(), Some(early)).validate().unwrap_err();
    let early = "before a ceremony there is no certificates.public_key";
    assert_eq!(refused, GenesisError::Key(early));
}

/// What a dealer made is for experiments; what members made need not be.
/// A15: a leader can try many cuts until the id of its block shuffles well.
#[test]
fn to_shuffle_by_block_ids_needs_an_experiment() {
    let mut chain = genesis(made(), Some(CertificateParams::ceremony()));
    chain.experiment = false;
    chain.order.rule = OrderRule::Shuffle;
    chain.order.tie = TieSource::Beacon;
    assert!(chain.validate().is_ok());
    chain.order.tie = TieSource::BlockId;
    assert!(matches!(
        chain.validate(),
        Err(GenesisError::NeedsExperiment(_))
    ));
    chain.experiment = true;
    assert!(chain.validate().is_ok());
}

#[test]
fn a_dealer_needs_an_experiment() {
    let mut chain = genesis(made(), Some(CertificateParams::ceremony()));
    chain.experiment = false;
    assert!(chain.validate().is_ok());
    let dealer = Some(CertificateParams::dealt(vec![4; 156]));
    let mut chain = genesis(dealt(), dealer);
    chain.experiment = false;
    assert!(matches!(
        chain.validate(),
        Err(GenesisError::NeedsExperiment(_))
    ));
}

/// Rules that look at no times of receipt are for experiments.
#[test]
fn baselines_need_an_experiment() {
    for rule in [OrderRule::Leader, OrderRule::RoundRobin] {
        let mut chain = genesis(made(), Some(CertificateParams::ceremony()));
        chain.order.rule = rule;
        chain.order.tie = TieSource::BlockId;
        assert!(chain.validate().is_ok(), "{rule:?}");
        chain.experiment = false;
        assert!(
            matches!(chain.validate(), Err(GenesisError::NeedsExperiment(_))),
            "{rule:?}"
        );
        for rule in [OrderRule::Strong, OrderRule::Arrival] {
            chain.order.rule = rule;
            assert!(chain.validate().is_ok(), "{rule:?}");
        }
    }
}
