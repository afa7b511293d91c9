//! `fairlane keys`: a member's secrets, on the disk and in backups. Nothing secret is ever
//! printed.

use std::path::Path;
use std::sync::Arc;

use fairlane_encryption::SuiteKey;
use fairlane_node::backup::Backup;
use fairlane_node::epochs::Present;
use fairlane_node::home::{EncryptionKeys, Home, HomeError, read_genesis};
use fairlane_node::key_files::AtRest;
use fairlane_node::passphrase::Passphrase;
use fairlane_replica::Sharing;
use fairlane_types::{Genesis, SecretKey};
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::{KeysHome, KeysVerb, PassphraseArgs};
use crate::exit::{Exit, Outcome, Problem};
use crate::term::{Term, short};

/// The passphrase that is given, if one is.
pub fn passphrase(args: &PassphraseArgs) -> Outcome<Option<Passphrase>> {
    let get = |name: &str| std::env::var(name).ok();
    Ok(Passphrase::find(args.passphrase_file.as_deref(), get)?)
}

/// A folder, with the passphrase of its keys.
pub fn home(folder: &Path, args: &PassphraseArgs) -> Outcome<Home> {
    Ok(Home::open(folder)?.with_passphrase(passphrase(args)?.map(Arc::new)))
}

/// Runs a verb.
pub fn run(verb: KeysVerb, term: Term) -> Outcome {
    match verb {
        KeysVerb::Generate {
            out,
            passphrase,
            plain,
        } => generate(&out, &passphrase, plain, term),
        KeysVerb::Show(args) => show(&args, term),
        KeysVerb::Backup {
            home,
            out,
            backup_passphrase_file,
        } => backup(&home, &out, backup_passphrase_file.as_deref(), term),
        KeysVerb::Restore {
            backup,
            home,
            genesis,
            backup_passphrase_file,
            plain,
        } => {
            let secret = backup_passphrase(&home.passphrase, backup_passphrase_file.as_deref())?;
            let backup_file = Backup::read(&backup, secret.as_ref())?;
            restore(&backup_file, &home, genesis.as_deref(), plain, term)
        }
        KeysVerb::Verify {
            home: folder,
            backup,
            genesis,
            passphrase: args,
        } => match (backup, folder, genesis) {
            (Some(file), _, Some(genesis)) => verify_backup(&file, &genesis, &args, term),
            (_, Some(folder), _) => verify(&home(&folder, &args)?, term),
            _ => Err(Problem::usage(
                "verify needs --home, or --backup and --genesis",
            )),
        },
        KeysVerb::Passphrase {
            home: args,
            new_passphrase_file,
        } => {
            let home = home(&args.home, &args.passphrase)?;
            let new = Passphrase::from_file(&new_passphrase_file)?;
            home.change_passphrase(Some(&new))?;
            let value = json!({ "keys": { "key_files": AtRest::Encrypted.word() } });
            term.result(&value, || {
                format!(
                    "{} key files encrypted under the new passphrase; old copies and backups \
                     keep the old one",
                    term.green("✔")
                )
            });
            Ok(())
        }
    }
}

/// What encrypts, where plain files are a wish of their own.
pub fn sealing(args: &PassphraseArgs, plain: bool) -> Outcome<Option<Arc<Passphrase>>> {
    if plain {
        return Ok(None);
    }
    match passphrase(args)? {
        Some(passphrase) => Ok(Some(Arc::new(passphrase))),
        None => Err(Problem::usage("no passphrase is given")
            .next("--passphrase-file FILE; or --plain, for tests only")),
    }
}

fn generate(out: &Path, args: &PassphraseArgs, plain: bool, term: Term) -> Outcome {
    let passphrase = sealing(args, plain)?;
    let at_rest = match passphrase {
        Some(_) => AtRest::Encrypted,
        None => AtRest::Plain,
    };
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(Problem::failed)?;
    let identity = SecretKey::from_seed(*seed);
    let (home, ()) = Home::make(out, passphrase, |home| home.write_identity(&identity))?;
    let public = identity.public();
    let value = json!({ "keys": {
        "identity": public, "key_files": at_rest.word(), "file": home.identity_path(),
    }});
    term.result(&value, || {
        format!(
            "{} identity {public} ({}) in {}",
            term.green("✔"),
            at_rest.word(),
            home.identity_path().display()
        )
    });
    Ok(())
}

fn show(args: &KeysHome, term: Term) -> Outcome {
    let home = home(&args.home, &args.passphrase)?;
    let present = Present::of(&home)?;
    let genesis = &present.genesis;
    let at_rest = home.at_rest(genesis)?;
    let keys = present.keys(&home)?;
    let identity = keys.identity.public();
    let scheme = genesis.encryption.scheme.name();
    let (key, share) = match &keys.encryption {
        EncryptionKeys::Dealt(key, _) | EncryptionKeys::Reshared(Sharing { key, .. }) => {
            let share = match key.as_ref() {
                SuiteKey::Tdh2(key) => key.verification_key(keys.me).map(hex::encode),
                SuiteKey::BaekZheng(key) => key.verification_key(keys.me).map(hex::encode),
            };
            (Some(key.id()), share)
        }
        EncryptionKeys::Ceremony(keys) => (None, Some(hex::encode(keys.receiver.key().bytes()))),
    };
    let made = || "made by the members".to_owned();
    let dealt = keys.certificates.as_ref();
    let dealt = dealt.map(|keys| hex::encode(keys.key.public_key()));
    let receivers = home.receiver_epochs()?;
    let value = json!({ "keys": {
        "member": keys.me, "identity": identity, "genesis": genesis.origin(),
        "epoch": genesis.epoch(), "receivers": receivers, "scheme": scheme, "encryption_key": key, "public_part": share,
        "certificate_key": dealt, "key_files": at_rest.word(),
    }});
    term.result(&value, || {
        let mut text = format!(
            "member {} of chain {} (genesis {}) in epoch {}\nidentity        {identity}\n\
             encryption key  {} ({scheme})\n",
            keys.me,
            genesis.chain,
            short(genesis.origin()),
            genesis.epoch(),
            key.map_or_else(made, |key| key.to_string()),
        );
        if genesis.certificates.is_some() {
            let key = dealt.unwrap_or_else(made);
            text.push_str(&format!("certificate key {key}\n"));
        }
        if let Some(share) = &share {
            text.push_str(&format!("public part     {share}\n"));
        }
        if !receivers.is_empty() {
            let epochs: Vec<_> = receivers.iter().map(ToString::to_string).collect();
            text.push_str(&format!("receiver keys   of epoch {}\n", epochs.join(", ")));
        }
        text.push_str(&format!("key files       {}", at_rest.word()));
        text
    });
    Ok(())
}

/// The backup's own passphrase, or else that of the key files.
fn backup_passphrase(args: &PassphraseArgs, file: Option<&Path>) -> Outcome<Option<Passphrase>> {
    match file {
        Some(path) => Ok(Some(Passphrase::from_file(path)?)),
        None => passphrase(args),
    }
}

fn backup(args: &KeysHome, out: &Path, own: Option<&Path>, term: Term) -> Outcome {
    let home = home(&args.home, &args.passphrase)?;
    let present = Present::of(&home)?;
    let secret = backup_passphrase(&args.passphrase, own)?.ok_or_else(|| {
        Problem::usage("a backup is always encrypted").next("--backup-passphrase-file FILE")
    })?;
    Backup::of(&home, &present)?.write(out, &secret)?;
    // What cannot be read back is no backup.
    let written = Backup::read(out, Some(&secret))?;
    let origin = home.genesis()?;
    written.belongs_to(&origin).map_err(Problem::failed)?;
    let value = json!({ "backup": {
        "file": out, "member": written.member, "epoch": written.epoch,
        "genesis": written.genesis,
    }});
    term.result(&value, || {
        format!(
            "{} keys of member {} in epoch {} in {}, read back; keep it away from this machine, \
             apart from its passphrase, and destroy it once another committee has taken over",
            term.green("✔"),
            written.member,
            written.epoch,
            out.display()
        )
    });
    Ok(())
}

fn restore(
    backup: &Backup,
    args: &KeysHome,
    genesis: Option<&Path>,
    plain: bool,
    term: Term,
) -> Outcome {
    let passphrase = sealing(&args.passphrase, plain)?;
    let at_rest = if plain {
        AtRest::Plain
    } else {
        AtRest::Encrypted
    };
    let given = genesis.map(read_genesis).transpose()?;
    let existing = match Home::open(&args.home) {
        Ok(home) => Some(home.with_passphrase(passphrase.clone())),
        Err(HomeError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let there = match &existing {
        Some(home) if home.genesis_path().exists() => Some(home.genesis()?),
        _ => None,
    };
    // What is there counts: --genesis only fills in.
    let chain = there.as_ref().or(given.as_ref()).ok_or_else(|| {
        Problem::usage("the folder has no genesis.json").next("--genesis FILE, any member's")
    })?;
    backup.belongs_to(chain).map_err(mismatch)?;
    if plain && !chain.experiment {
        let path = args.home.join("identity.key");
        return Err(HomeError::Plain(path).into());
    }
    let fill = |home: &Home| {
        backup.restore(home)?;
        match there {
            Some(_) => Ok(()),
            None => home.write_genesis(chain),
        }
    };
    let home = match existing {
        Some(home) => fill(&home).map(|()| home)?,
        None => Home::make(&args.home, passphrase, fill)?.0,
    };
    let born = home.data_path().exists();
    let value = json!({ "restored": {
        "member": backup.member, "epoch": backup.epoch, "home": home.root(),
        "key_files": at_rest.word(),
        "config": home.config_path().exists(), "data": born,
    }});
    term.result(&value, || {
        let mut text = format!(
            "{} keys of member {} ({}) in {}",
            term.green("✔"),
            backup.member,
            at_rest.word(),
            home.root().display()
        );
        if !home.config_path().exists() {
            text.push_str("\n  config.toml is missing: write it again");
        }
        if !born {
            text.push_str(
                "\n  without its old data folder this member is an observer: it does not vote",
            );
        }
        text
    });
    Ok(())
}

fn verify(home: &Home, term: Term) -> Outcome {
    let present = Present::of(home)?;
    let at_rest = home.at_rest(&present.genesis)?;
    let keys = present.keys(home)?;
    report(&present.genesis, keys.me, at_rest, term);
    Ok(())
}

fn verify_backup(file: &Path, genesis: &Path, args: &PassphraseArgs, term: Term) -> Outcome {
    let genesis = read_genesis(genesis)?;
    let backup = Backup::read(file, passphrase(args)?.as_ref())?;
    backup.belongs_to(&genesis).map_err(mismatch)?;
    report(&genesis, backup.member, AtRest::Encrypted, term);
    Ok(())
}

fn report(genesis: &Genesis, me: fairlane_types::MemberId, at_rest: AtRest, term: Term) {
    let value = json!({ "verified": {
        "member": me, "genesis": genesis.origin(), "key_files": at_rest.word(),
    }});
    term.result(&value, || {
        format!(
            "{} identity and shares ({}) are those of member {me} of chain {} (genesis {})",
            term.green("✔"),
            at_rest.word(),
            genesis.chain,
            short(genesis.origin())
        )
    });
}

fn mismatch(reason: String) -> Problem {
    Problem::new(Exit::Verification, reason).next("find the backup of this member and chain")
}
