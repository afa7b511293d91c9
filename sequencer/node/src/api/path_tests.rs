//! Paths that say nothing, on every route that has something in its path.

use fairlane_client::wire::{ApiError, ErrorCode};

use super::tests::{raw, rig};

const ROUTES: [&str; 15] = [
    "/v1/epochs/?",
    "/v1/epochs/?/handover",
    "/v1/epochs/?/base",
    "/v1/orders/?",
    "/v1/orders/?/proof",
    "/v1/orders/?/blind",
    "/v1/blocks/?",
    "/v1/certs/?",
    "/v1/attestations/?",
    "/v1/beacons/?",
    "/v1/account/?",
    "/v1/account/?/attested",
    "/v1/states/?",
    "/v1/execution/?",
    "/v1/execution/?/claim",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_text_and_what_is_nonsense_are_refused_in_the_same_shape() {
    let (_rig, _, address) = rig().await;
    for route in ROUTES {
        for piece in ["%FF", "nonsense"] {
            let path = route.replace('?', piece);
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = raw(address, request.as_bytes()).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let error = ApiError::from_json(body.as_bytes());
            let error = error.unwrap_or_else(|| panic!("{path}: {answer}"));
            // Not executing comes first on a member that does not.
            let expected = match piece {
                "%FF" => vec![ErrorCode::Malformed],
                _ => vec![ErrorCode::Malformed, ErrorCode::NotFound],
            };
            assert!(expected.contains(&error.code), "{path}: {answer}");
            assert!(
                head.starts_with(&format!("HTTP/1.1 {}", error.code.status())),
                "{answer}"
            );
        }
    }
}
