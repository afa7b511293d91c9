//! JSON from clients and members.
#![no_main]

use fairlane_client::wire::{
    AttestationBody, AttestedAccountBody, BlockBody, CertBody, EnvelopeBody, EpochBody,
    EvidenceBody, InfoBody, OrderBody, ProofBody, StatusBody, SubmitBody,
};
use fairlane_encryption::{Attestation, StateAttestation};
use fairlane_execution::params::ExecutionGenesis;
use fairlane_fuzz::readable;
use fairlane_types::{Envelope, Genesis, SequencedBlock};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    match which % 12 {
        0 => {
            if let Some(genesis) = readable::<Genesis>(bytes) {
                let _ = (genesis.validate(), genesis.hash());
            }
        }
        1 => {
            let envelope = readable::<EnvelopeBody>(bytes).map(Envelope::from);
            let _ = envelope.map(|envelope| envelope.id());
        }
        2 => drop(readable::<BlockBody>(bytes).map(SequencedBlock::try_from)),
        3 => {
            drop(readable::<AttestationBody>(bytes).map(Attestation::try_from));
            drop(
                readable::<AttestedAccountBody>(bytes).map(|b| StateAttestation::try_from(b.state)),
            );
        }
        4 => drop(readable::<ProofBody>(bytes)),
        5 => drop(readable::<CertBody>(bytes)),
        6 => drop(readable::<EvidenceBody>(bytes)),
        7 => drop(readable::<InfoBody>(bytes)),
        8 => drop(readable::<EpochBody>(bytes)),
        9 => drop(readable::<StatusBody>(bytes)),
        10 => drop((readable::<SubmitBody>(bytes), readable::<OrderBody>(bytes))),
        _ => {
            if let Some(genesis) = readable::<ExecutionGenesis>(bytes) {
                let _ = genesis.validate();
            }
        }
    }
});
