//! Blocks, certificates, evidence and audits: rows of a disk, and what others hand over.
#![no_main]

use fairlane_client::sequence_file::Record;
use fairlane_encryption::{Attestation, StateAttestation};
use fairlane_fuzz::canonical;
use fairlane_replica::audit::{BlindReceipt, Case, Start, Step};
use fairlane_replica::{Evidence, FinalBlock, SafetyRecord};
use fairlane_types::{
    Certificate, ChainId, Committee, Epoch, KeyActivation, Receipt, SecretKey, SequencedBlock,
};
use libfuzzer_sys::fuzz_target;

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
        }
        10 => {
            drop((canonical::<Attestation>(bytes), canonical::<Receipt>(bytes)));
            let _ = canonical::<StateAttestation>(bytes);
        }
        _ => drop(canonical::<Record>(bytes)),
    }
});
