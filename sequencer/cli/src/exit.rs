//! Exit codes, and errors that say what to do next.

use fairlane_client::{ClientError, KeptError, VerifyError};

/// Why the process ends with another code than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The thing asked for failed.
    Failed = 1,
    /// The command line or an input file is wrong.
    Usage = 2,
    /// Something that must be there before the start is not.
    Preflight = 3,
    /// A member cannot be reached.
    Unreachable = 4,
    /// What a member or a file says does not hold.
    Verification = 5,
}

impl Exit {
    /// Word in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Preflight => "preflight",
            Self::Unreachable => "unreachable",
            Self::Verification => "verification",
        }
    }
}

/// An error for the user.
#[derive(Debug)]
pub struct Problem {
    /// Exit code.
    pub exit: Exit,
    /// What is wrong, where and why.
    pub what: String,
    /// What to do next.
    pub next: Option<String>,
}

/// Result of a verb.
pub type Outcome<T = ()> = Result<T, Problem>;

impl Problem {
    /// An error with this exit code.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            next: None,
        }
    }

    /// Adds what to do next.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The thing asked for failed.
    pub fn failed(what: impl ToString) -> Self {
        Self::new(Exit::Failed, what.to_string())
    }

    /// The command line or an input file is wrong.
    pub fn usage(what: impl ToString) -> Self {
        Self::new(Exit::Usage, what.to_string())
    }

    /// Something is missing before the start.
    pub fn preflight(what: impl ToString) -> Self {
        Self::new(Exit::Preflight, what.to_string())
    }

    /// The JSON line.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": {
            "exit": self.exit.word(), "message": self.what, "next": self.next,
        }})
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        let what = error.to_string();
        match error {
            ClientError::Address(_) => {
                Self::usage(what).next("an address is http://host:port or host:port")
            }
            ClientError::Unreachable { .. } | ClientError::TimedOut { .. } => {
                Self::new(Exit::Unreachable, what)
                    .next("is the member running, and is this its public port?")
            }
            ClientError::Api(error) => match error.first_available() {
                Some(first) => Self::failed(what).next(format!(
                    "heights from {first} on are kept: begin there (follow --from {first}), or name a \
                     member that keeps everything (store.archive = true)"
                )),
                None => Self::failed(what).next(error.code.meaning()),
            },
            ClientError::Withheld { .. } | ClientError::Uncovered { .. } => {
                Self::failed(what).next("name more members with --to")
            }
            ClientError::Contradiction { .. } => Self::new(Exit::Verification, what)
                .next("who is right is not known: follow without --unattested"),
            ClientError::Place(_) => Self::new(Exit::Verification, what).next(
                "it was taken from unattested blocks, or is another chain's: begin again without it",
            ),
            ClientError::NoAttestations => Self::preflight(what)
                .next("--unattested takes blocks on the members' word"),
            ClientError::Protocol { .. } => {
                Self::failed(what).next("is this the public port of a fairlane member?")
            }
            ClientError::False { .. } => Self::new(Exit::Verification, what)
                .next("do not use this member; keep its answer as evidence"),
        }
    }
}

impl From<KeptError> for Problem {
    fn from(error: KeptError) -> Self {
        let what = error.to_string();
        match error {
            KeptError::Io { .. } | KeptError::TooLong { .. } => Self::failed(what),
            KeptError::Other(_) => Self::preflight(what).next("choose another folder"),
            KeptError::Damaged { .. } => Self::preflight(what).next("remove it to begin again"),
        }
    }
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        Self::new(Exit::Verification, error.to_string())
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}
