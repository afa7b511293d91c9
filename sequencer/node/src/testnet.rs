//! Homes for a committee on one machine. The keys of encryption and certificates are made by
//! the members once they run, unless a dealer is asked for. Whoever runs this could keep every
//! secret it writes, which the genesis says (`experiment = true`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fairlane_encryption::{
    CERTIFICATE_KEY_BYTES, CertificateKey, CertificateSecret, ReceiverSecret,
    deal_pairing_insecure, deal_suite_insecure,
};
use fairlane_execution::params::ExecutionGenesis;
use fairlane_types::{
    CertificateParams, ChainId, Combining, EncryptionParams, Epoch, Genesis, MEMBERS_MAX,
    MEMBERS_MIN, MemberId, Millis, OrderParams, OrderRule, ReceiverBytes, Scheme, SecretKey,
    TieSource,
};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use zeroize::Zeroizing;

use crate::backup::{KeptShares, Part};
use crate::config::{ApiConfig, Config, StoreConfig};
use crate::executor;
use crate::files::write_new;
use crate::home::{Home, HomeError, write_genesis};
use crate::oracle::OracleConfig;
use crate::passphrase::Passphrase;
use crate::store::DISK_RESERVE_BYTES;

/// Ports between two members.
const PORTS_PER_MEMBER: u16 = 10;

/// How to make the homes.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Folder that will hold `genesis.json` and `member-0`, `member-1`, …
    pub out: PathBuf,
    /// Members, 4 to 100.
    pub members: usize,
    /// Address that all listen on.
    pub ip: IpAddr,
    /// Member i listens on `port + 10·i` (links), `+ 1` (API) and `+ 2` (ops).
    pub port: u16,
    /// Chain id; random if none is given.
    pub chain: Option<ChainId>,
    /// Finalized time of height 0; now if none is given.
    pub time: Option<Millis>,
    /// Space on the disk that is never used, MiB.
    pub reserve_mb: u64,
    /// Encryption scheme.
    pub scheme: Scheme,
    /// Encrypts every member's key files; without one they are plain.
    pub passphrase: Option<Arc<Passphrase>>,
    /// Order rule.
    pub rule: OrderRule,
    /// What breaks ties.
    pub tie: TieSource,
    /// Who combines, if not what follows from the size.
    pub combining: Option<Combining>,
    /// A dealer makes the keys of encryption and certificates: INSECURE.
    pub dealer: bool,
    /// What every member executes, if anything.
    pub execution: Option<ExecutionGenesis>,
    /// Where every member's prices come from. The members are the oracles then.
    pub oracle: Option<OracleConfig>,
}

impl InitOptions {
    /// A committee on the loopback.
    #[must_use]
    pub fn new(out: impl Into<PathBuf>, members: usize) -> Self {
        Self {
            out: out.into(),
            members,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 7_700,
            chain: None,
            time: None,
            reserve_mb: DISK_RESERVE_BYTES >> 20,
            scheme: Scheme::Tdh2,
            passphrase: None,
            rule: OrderParams::default().rule,
            tie: OrderParams::default().tie,
            combining: None,
            dealer: true,
            execution: None,
            oracle: None,
        }
    }

    /// Where a member listens for links, the API and operators.
    #[must_use]
    pub const fn addresses(&self, member: MemberId) -> [SocketAddr; 3] {
        let base = self.port.saturating_add(member.0 as u16 * PORTS_PER_MEMBER);
        [
            SocketAddr::new(self.ip, base),
            SocketAddr::new(self.ip, base.saturating_add(1)),
            SocketAddr::new(self.ip, base.saturating_add(2)),
        ]
    }
}

/// A home that was made.
#[derive(Clone, Debug)]
pub struct Member {
    /// The member.
    pub id: MemberId,
    /// Its home.
    pub home: Home,
    /// Its configuration.
    pub config: Config,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Testnet {
    /// The genesis, in every home and in the folder itself.
    pub genesis: Genesis,
    /// The committee's key for attestations, all that a light client needs, where it was dealt.
    pub committee_key: Option<[u8; CERTIFICATE_KEY_BYTES]>,
    /// Where clients find it.
    pub genesis_path: PathBuf,
    /// The members.
    pub members: Vec<Member>,
}

/// Makes the homes of a committee; `tweak` may change parameters of the genesis.
///
/// # Errors
/// [`HomeError`]; nothing that exists is overwritten.
pub fn init(options: &InitOptions, tweak: impl FnOnce(&mut Genesis)) -> Result<Testnet, HomeError> {
    let out = &options.out;
    let refuse = |reason: String| HomeError::content(out, reason);
    let n = options.members;
    if !(MEMBERS_MIN..=MEMBERS_MAX).contains(&n) {
        let reason = format!("a committee has {MEMBERS_MIN} to {MEMBERS_MAX} members, not {n}");
        return Err(refuse(reason));
    }
    let last = usize::from(options.port) + n * usize::from(PORTS_PER_MEMBER);
    if last > usize::from(u16::MAX) {
        return Err(refuse(format!(
            "ports end at {last}; start below {}",
            options.port
        )));
    }
    let identities = (0..n)
        .map(|_| secret_key(out))
        .collect::<Result<Vec<_>, _>>()?;
    let (encryption, parts) = encryption(options).map_err(refuse)?;
    let dealt = options
        .dealer
        .then(|| deal_pairing_insecure(Epoch(0), n, &mut UnwrapErr(SysRng)));
    let dealt: Option<(CertificateKey, _)> =
        dealt.transpose().map_err(|e| refuse(e.to_string()))?;
    let (certificate_key, secrets) = dealt.unzip();
    let certificates = match &certificate_key {
        Some(key) => CertificateParams::dealt(fairlane_types::encode(key)),
        None => CertificateParams::ceremony(),
    };
    let mut genesis = Genesis {
        chain: match options.chain {
            Some(chain) => chain,
            None => random_chain(out)?,
        },
        time: options.time.unwrap_or_else(now),
        experiment: true,
        start: None,
        members: identities.iter().map(SecretKey::public).collect(),
        encryption,
        certificates: Some(certificates),
        lanes: Default::default(),
        consensus: Default::default(),
        order: OrderParams {
            rule: options.rule,
            tie: options.tie,
            ..OrderParams::default()
        },
    };
    genesis.encryption.combining = options.combining;
    tweak(&mut genesis);
    genesis.validate().map_err(|e| refuse(e.to_string()))?;

    let mut execution = options.execution.clone();
    if let (Some(execution), Some(_)) = (&mut execution, &options.oracle) {
        execution.oracles.clone_from(&genesis.members);
    }
    if let Some(execution) = &execution {
        execution.validate().map_err(|e| refuse(e.to_string()))?;
    }

    std::fs::create_dir_all(out).map_err(|e| HomeError::io(out, &e))?;
    let genesis_path = out.join("genesis.json");
    write_genesis(&genesis_path, &genesis)?;
    let mut members = Vec::with_capacity(n);
    let secrets: &[CertificateSecret] = secrets.as_deref().unwrap_or_default();
    for (index, (identity, part)) in identities.iter().zip(&parts).enumerate() {
        let id = MemberId(index as u8);
        let home = Home::create(out.join(format!("member-{index}")))?
            .with_passphrase(options.passphrase.clone());
        home.write_genesis(&genesis)?;
        home.write_identity(identity)?;
        match part {
            Part::Share(share) => home.write_share(share)?,
            Part::Kept(KeptShares(shares), _) => home.keep_shares(genesis.epoch(), shares)?,
            Part::Receivers(secrets) => {
                for (epoch, secret) in secrets {
                    home.write_receiver(*epoch, secret)?;
                }
            }
        }
        if let Some(certificate) = secrets.get(index)
            && genesis.certificates.is_some()
        {
            home.write_certificate_share(certificate)?;
        }
        let config = config_of(options, id);
        write_config(&home, &config)?;
        if let Some(execution) = &execution {
            executor::write_genesis(&home, execution)?;
        }
        home.write_birth(&genesis, id, config.reserve_bytes())?;
        members.push(Member { id, home, config });
    }
    Ok(Testnet {
        genesis,
        committee_key: certificate_key.map(|key| *key.public_key()),
        genesis_path,
        members,
    })
}

/// The encryption key of the genesis, or the keys for its ceremony; and each member's part.
fn encryption(options: &InitOptions) -> Result<(EncryptionParams, Vec<Part>), String> {
    // UnwrapErr: without randomness there are no keys, and the identities have just worked.
    let rng = &mut UnwrapErr(SysRng);
    if options.dealer {
        let (key, shares) = deal_suite_insecure(options.scheme, Epoch(0), options.members, rng)
            .map_err(|error| error.to_string())?;
        let params = EncryptionParams::dealt(options.scheme, key.id(), key.to_bytes());
        return Ok((
            params,
            shares
                .into_iter()
                .map(|share| Part::Share(Arc::new(share)))
                .collect(),
        ));
    }
    let secrets: Vec<_> = (0..options.members)
        .map(|_| ReceiverSecret::generate(rng))
        .collect();
    let receivers = secrets.iter().map(|s| ReceiverBytes(*s.key().bytes()));
    let params = EncryptionParams::ceremony(options.scheme, receivers.collect());
    let of_first = |secret| Part::Receivers(vec![(Epoch(0), Arc::new(secret))]);
    let parts = secrets.into_iter().map(of_first);
    Ok((params, parts.collect()))
}

fn config_of(options: &InitOptions, me: MemberId) -> Config {
    let [listen_quic, listen_api, listen_ops] = options.addresses(me);
    let others = (0..options.members)
        .map(|index| MemberId(index as u8))
        .filter(|id| *id != me);
    let peers: BTreeMap<String, String> = others
        .clone()
        .map(|id| (id.to_string(), options.addresses(id)[0].to_string()))
        .collect();
    Config {
        listen_quic,
        listen_api,
        listen_ops,
        log: "info".to_owned(),
        peers,
        join: others
            .map(|id| format!("http://{}", options.addresses(id)[1]))
            .collect(),
        api: ApiConfig::default(),
        store: StoreConfig {
            reserve_mb: options.reserve_mb,
            ..StoreConfig::default()
        },
        oracle: options.oracle.clone(),
    }
}

/// Writes `config.toml`; never over another.
///
/// # Errors
/// [`HomeError`].
pub fn write_config(home: &Home, config: &Config) -> Result<(), HomeError> {
    let path = home.config_path();
    let text = config.to_toml().map_err(|e| HomeError::content(&path, e))?;
    write_new(&path, 0o644, text.as_bytes())
}

fn secret_key(out: &Path) -> Result<SecretKey, HomeError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)
        .map_err(|e| HomeError::content(out, format!("no randomness from the system: {e}")))?;
    Ok(SecretKey::from_seed(*seed))
}

fn random_chain(out: &Path) -> Result<ChainId, HomeError> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)
        .map_err(|e| HomeError::content(out, format!("no randomness from the system: {e}")))?;
    // Small enough for tools that read chain ids as JavaScript numbers.
    Ok(ChainId(u64::from(u32::from_le_bytes(bytes)).max(1)))
}

/// The system's time.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
