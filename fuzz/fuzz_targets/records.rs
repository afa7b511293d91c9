//! Blocks, certificates, evidence and audits: rows of a disk, and what others hand over.
#![no_main]

use std::sync::OnceLock;

use fairlane_client::sequence_file::Record;
use fairlane_encryption::{Attestation, StateAttestation};
use fairlane_fuzz::canonical;
use fairlane_replica::audit::{BlindReceipt, Case, Start, Step};
use fairlane_replica::{Evidence, FinalBlock, SafetyRecord};
use fairlane_types::{
    ActiveKeys, Certificate, ChainId, Committee, Epoch, KeyActivation, MemberId, Receipt,
    SecretKey, SequencedBlock, encode,
};
use libfuzzer_sys::fuzz_target;

/// A quorum's word for a key, encoded.
fn activation(chain: ChainId) -> &'static [u8] {
    static WORD: OnceLock<Vec<u8>> = OnceLock::new();
    WORD.get_or_init(|| encode(&signed(chain)))
}

fn signed(chain: ChainId) -> KeyActivation {
    let keys = ActiveKeys {
        encryption: b"a key".to_vec(),
        certificate: Vec::new(),
    };
    let sign =
        |seed| KeyActivation::sign(&SecretKey::from_seed([seed; 32]), chain, Epoch(0), &keys);
    let signatures = [1, 2, 4].map(sign).to_vec();
    KeyActivation {
        epoch: Epoch(0),
        signers: [0, 1, 3].map(MemberId).into_iter().collect(),
        signatures,
        keys,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let members = (1..5).map(|seed| SecretKey::from_seed([seed; 32]).public());
    let committee = Committee::new(members.collect()).expect("four members");
    let chain = ChainId(1);
    match which % 12 {
        0 => drop(canonical::<FinalBlock>(bytes)),
        1 => drop(canonical::<SafetyRecord>(bytes)),
        2 => {
            if let Some(certificate) = canonical::<Certificate>(bytes) {
                assert!(certificate.verify(chain, &committee, &[7; 32]).is_err());
            }
        }
        3 => {
            if let Some(evidence) = canonical::<Evidence>(bytes) {
                assert!(evidence.verify(chain, Epoch(0), &committee, &[]).is_err());
            }
        }
        4 => {
            if let Some(block) = canonical::<SequencedBlock>(bytes) {
                let _ = block.compute_root();
            }
        }
        5 => drop(canonical::<Step>(bytes)),
        6 => drop(canonical::<Start>(bytes)),
        7 => drop(canonical::<Case>(bytes)),
        8 => drop(canonical::<BlindReceipt>(bytes)),
        9 => {
            if let Some(activation) = canonical::<KeyActivation>(bytes) {
                assert!(activation.verify(chain, &committee).is_err());
            }
            let valid = activation(chain);
            let mut changed = valid.to_vec();
            for edit in bytes.chunks_exact(2) {
                let at = usize::from(edit[0]) % changed.len();
                changed[at] ^= edit[1];
            }
            if let Some(activation) = canonical::<KeyActivation>(&changed) {
                let holds = activation.verify(chain, &committee).is_ok();
                assert_eq!(holds, changed == valid, "changed keys are activated");
            }
        }
        10 => {
            drop((canonical::<Attestation>(bytes), canonical::<Receipt>(bytes)));
            let _ = canonical::<StateAttestation>(bytes);
        }
        _ => drop(canonical::<Record>(bytes)),
    }
});
