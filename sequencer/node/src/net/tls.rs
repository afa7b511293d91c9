//! TLS 1.3 with raw public keys (RFC 7250): no certificates, no names, no clocks; a key is
//! of the committee or it is refused in the handshake.

use std::net::UdpSocket;
use std::sync::Arc;

use fairlane_types::{Committee, Domain, MemberId, PublicKey, SecretKey};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig,
    TransportConfig,
};
use quinn_proto::HashedConnectionIdGenerator;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use zeroize::Zeroizing;

use super::{IDLE_TIMEOUT, KEEP_ALIVE_INTERVAL};
use fairlane_replica::Class;

/// Application protocol of links between members.
pub const ALPN: &[u8] = b"fairlane/1";

/// SubjectPublicKeyInfo of an ed25519 key, up to the key itself (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0,
];
/// PKCS#8 of an ed25519 seed, up to the seed itself (RFC 8410).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

/// Bytes of a stream that may be on their way: what a link of 200 ms and 20 MB/s holds.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Of all streams: more than their sum, so that one that is held back never takes the
/// room of a more urgent one.
const LINK_WINDOW_BYTES: u32 = (Class::ALL.len() as u32 + 1) * STREAM_WINDOW_BYTES;
/// First guess of the round-trip time, for the first retransmission.
const RTT_INITIAL: std::time::Duration = std::time::Duration::from_millis(100);
/// Packets that a peer may leave unacknowledged, unless some are missing or 25 ms pass. Most
/// packets hold one small message, and often nothing goes back that could carry the
/// acknowledgement (draft-ietf-quic-ack-frequency).
const PACKETS_UNACKED_MAX: u32 = 8;

/// Keys and parameters of this member's links.
pub(super) struct Tls {
    key: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
    committee: Committee,
    me: MemberId,
    transport: Arc<TransportConfig>,
    reset_key: [u8; 32],
}

impl Tls {
    pub(super) fn new(
        me: MemberId,
        committee: &Committee,
        identity: &SecretKey,
    ) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = certified_key(identity)?;
        let mut hasher = Domain::Transport.hasher();
        hasher.update(b"stateless reset").update(identity.seed());
        let reset_key = *hasher.finalize().as_bytes();
        let transport = Arc::new(transport());
        Ok(Self {
            key,
            provider,
            committee: committee.clone(),
            me,
            transport,
            reset_key,
        })
    }

    /// The endpoint on a socket. Connection ids and reset tokens follow from the identity
    /// key, so that a node that was killed and started again makes its peers drop their
    /// old links at once, not after the idle timeout.
    pub(super) fn endpoint(&self, socket: UdpSocket) -> std::io::Result<Endpoint> {
        let other = |e: &dyn std::fmt::Display| std::io::Error::other(e.to_string());
        let mut config = EndpointConfig::new(Arc::new(ResetKey(self.reset_key)));
        let mut cid_key = [0; 8];
        cid_key.copy_from_slice(&blake3::derive_key("FAIRLANE V1 cid", &self.reset_key)[..8]);
        let cid_key = u64::from_le_bytes(cid_key);
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid_key)));
        let server = self.server_config().map_err(|e| other(&e))?;
        let runtime = quinn::default_runtime().ok_or_else(|| other(&"no async runtime"))?;
        Endpoint::new(config, Some(server), socket, runtime)
    }

    fn server_config(&self) -> Result<ServerConfig, Error> {
        let keys = self.committee.ids().filter(|id| *id != self.me);
        let keys = keys
            .filter_map(|id| self.committee.key(id).copied())
            .collect();
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(self.verifier(keys))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
                Arc::clone(&self.key),
            )));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Every link is authenticated afresh.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let crypto =
            QuicServerConfig::try_from(config).map_err(|e| Error::General(e.to_string()))?;
        let mut server = ServerConfig::with_crypto(Arc::new(crypto));
        server.transport_config(Arc::clone(&self.transport));
        server.migration(false);
        server.max_incoming(super::HANDSHAKES_OPEN_MAX);
        Ok(server)
    }

    /// For dialling one member: no other key will do.
    pub(super) fn client_config(&self, peer: &PublicKey) -> Result<ClientConfig, Error> {
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(vec![*peer]))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                Arc::clone(&self.key),
            )));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        let crypto =
            QuicClientConfig::try_from(config).map_err(|e| Error::General(e.to_string()))?;
        let mut client = ClientConfig::new(Arc::new(crypto));
        client.transport_config(Arc::clone(&self.transport));
        Ok(client)
    }

    fn verifier(&self, keys: Vec<PublicKey>) -> Arc<Pinned> {
        let algorithms = self.provider.signature_verification_algorithms;
        Arc::new(Pinned { keys, algorithms })
    }
}

/// The member's key as TLS wants it.
fn certified_key(identity: &SecretKey) -> Result<Arc<CertifiedKey>, Error> {
    let mut pkcs8 = Zeroizing::new(PKCS8_PREFIX.to_vec());
    pkcs8.extend_from_slice(identity.seed());
    let signer = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&pkcs8[..]))?;
    let spki = CertificateDer::from(spki(&identity.public()));
    Ok(Arc::new(CertifiedKey::new(vec![spki], signer)))
}

fn spki(key: &PublicKey) -> Vec<u8> {
    [&SPKI_PREFIX[..], &key.0].concat()
}

/// The key in a SubjectPublicKeyInfo, if it is an ed25519 key in its one encoding.
pub(super) fn key_of(spki: &[u8]) -> Option<PublicKey> {
    let key = spki.strip_prefix(&SPKI_PREFIX)?;
    key.try_into().ok().map(PublicKey)
}

/// Accepts exactly these keys, for signatures by ed25519 in TLS 1.3.
#[derive(Debug)]
struct Pinned {
    keys: Vec<PublicKey>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        match key_of(end_entity) {
            Some(key) if rest.is_empty() && self.keys.contains(&key) => Ok(()),
            _ => Err(Error::InvalidCertificate(
                rustls::CertificateError::UnknownIssuer,
            )),
        }
    }

    fn signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, dss, &self.algorithms)
    }
}

const TLS12: &str = "TLS 1.2 is not spoken here";

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General(TLS12.to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General(TLS12.to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Limits of a connection: one stream per class and direction, nothing else.
fn transport() -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(PACKETS_UNACKED_MAX.into());
    let mut config = TransportConfig::default();
    config
        .ack_frequency_config(Some(acks))
        .max_concurrent_uni_streams((Class::ALL.len() as u32).into())
        .max_concurrent_bidi_streams(0_u32.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(LINK_WINDOW_BYTES.into())
        .send_window(LINK_WINDOW_BYTES.into())
        .initial_rtt(RTT_INITIAL)
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL))
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok());
    config
}

/// Keyed BLAKE3 for stateless reset tokens.
struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        let tag = blake3::keyed_hash(&self.0, data);
        let length = out.len().min(blake3::OUT_LEN);
        out[..length].copy_from_slice(&tag.as_bytes()[..length]);
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let tag = blake3::keyed_hash(&self.0, data);
        // blake3::Hash compares in constant time.
        let signature = <[u8; blake3::OUT_LEN]>::try_from(signature).map_err(|_| CryptoError)?;
        if tag == signature {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}
