//! The client's ways to submit, over members that are honest, silent, wrong or false.

use std::time::{Duration, Instant};

use fairlane_client::wire::ErrorCode;
use fairlane_client::{ClientError, Committee, FanOut, Member, Pin};
use fairlane_replica::AdmissionError;
use fairlane_types::MemberId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::ApiLimits;
use super::testing::{Rig, Verdict, envelope, genesis};

async fn rig(verdict: Verdict) -> (Rig, Member) {
    let rig = tokio::task::spawn_blocking(Rig::new).await.unwrap();
    rig.verdict(verdict);
    let address = rig.serve(ApiLimits::default()).await;
    (rig, Member::new(&address.to_string()).unwrap())
}

/// Somebody who answers every request with nonsense.
async fn babbler() -> Member {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream
                .write_all(b"HTTP/1.1 202 OK\r\ncontent-length: 3\r\n\r\nyes")
                .await;
        }
    });
    Member::new(&address.to_string()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_member_costs_no_more_than_its_own_answer() {
    let pin = Pin::new(genesis()).unwrap();
    let wrong = Verdict::Refuse(AdmissionError::BadSignature);
    let (_one, honest) = rig(Verdict::Receipt).await;
    let (_two, refuses) = rig(wrong.clone()).await;
    let (_three, also_refuses) = rig(wrong).await;
    let nonsense = babbler().await;
    // Nonsense, then one refusal, which may be a lie, then a receipt.
    let members = vec![nonsense.clone(), refuses.clone(), honest.clone()];
    let committee = Committee::new(pin.clone(), members);
    let delivery = committee.submit_to_any(&envelope(1), 0).await.unwrap();
    assert_eq!(delivery.member, MemberId(2));
    // f+1 refusals cannot all be lies: the honest one is not asked any more.
    let members = vec![nonsense.clone(), refuses, also_refuses, honest];
    let committee = Committee::new(pin.clone(), members);
    let error = committee.submit_to_any(&envelope(2), 0).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::BadSignature), "{error}");
    // Nobody else is there.
    let committee = Committee::new(pin, vec![nonsense]);
    let error = committee.submit_to_any(&envelope(3), 0).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_member_does_not_hold_up_the_others_receipts() {
    let pin = Pin::new(genesis()).unwrap();
    let (_silent, hung) = rig(Verdict::Silence).await;
    let (_one, first) = rig(Verdict::Receipt).await;
    let (_two, second) = rig(Verdict::Receipt).await;
    let committee = Committee::new(pin, vec![hung, first, second]);
    let plan = FanOut::around(0, 3, 3, &[]);
    let start = Instant::now();
    let deliveries = committee.submit_until(&envelope(1), &plan, 2).await;
    let receipts = deliveries.iter().filter(|d| d.result.is_ok()).count();
    assert_eq!((deliveries.len(), receipts), (2, 2));
    // The hung one would take until its own limit.
    let limit = Duration::from_secs(10);
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
    let delivery = committee.submit_to_any(&envelope(2), 0).await.unwrap();
    assert_eq!(delivery.member, MemberId(1));
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
}
