//! What the replica keeps on disk: tables, writes, and the trait that both shells
//! implement (RocksDB in the node, a crash-losing model in the simulator).
//!
//! Keys are written so that byte order is the order of use: integers big-endian.

/// A table, one column family each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Format version, chain, identity, snapshots of the order state.
    Meta,
    /// The durable safety record (C7): votes, commits, skips, proposals, certificates.
    Safety,
    /// Final blocks and certificates by height.
    Blocks,
    /// Lane batches, and acknowledgement records (M2).
    Lanes,
    /// Envelopes by order id.
    Payloads,
    /// This member's decryption shares by height, and beacons.
    Shares,
    /// Emitted blocks by height.
    Sequence,
    /// Order id → where it was emitted.
    Index,
    /// Proofs of misbehaviour.
    Evidence,
    /// Attested roots by height.
    Attestations,
    /// Dealings of final blocks by height, and which of them count; changes of committee
    /// (PROTOCOL §6).
    Dealings,
    /// What each later epoch began with, by its number.
    Epochs,
    /// Attested states by height.
    StateAttestations,
}

impl Table {
    /// Every table, in the order of their column families.
    pub const ALL: [Self; 13] = [
        Self::Meta,
        Self::Safety,
        Self::Blocks,
        Self::Lanes,
        Self::Payloads,
        Self::Shares,
        Self::Sequence,
        Self::Index,
        Self::Evidence,
        Self::Attestations,
        Self::Dealings,
        Self::Epochs,
        Self::StateAttestations,
    ];

    /// Name of the column family.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Safety => "safety",
            Self::Blocks => "blocks",
            Self::Lanes => "lanes",
            Self::Payloads => "payloads",
            Self::Shares => "shares",
            Self::Sequence => "sequence",
            Self::Index => "index",
            Self::Evidence => "evidence",
            Self::Attestations => "attestations",
            Self::Dealings => "dealings",
            Self::Epochs => "epochs",
            Self::StateAttestations => "state_attestations",
        }
    }
}

/// One change; the writes of one effect are applied together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a value.
    Put {
        /// Table.
        table: Table,
        /// Key.
        key: Vec<u8>,
        /// Value.
        value: Vec<u8>,
    },
    /// Removes a key.
    Delete {
        /// Table.
        table: Table,
        /// Key.
        key: Vec<u8>,
    },
    /// Removes the keys in `from..to` (`to` excluded).
    DeleteRange {
        /// Table.
        table: Table,
        /// First key removed.
        from: Vec<u8>,
        /// First key kept.
        to: Vec<u8>,
    },
}

impl Write {
    /// Sets a value.
    #[must_use]
    pub const fn put(table: Table, key: Vec<u8>, value: Vec<u8>) -> Self {
        Self::Put { table, key, value }
    }

    /// Sets a value of [`Table::Meta`].
    #[must_use]
    pub fn meta(key: &[u8], value: Vec<u8>) -> Self {
        Self::put(Table::Meta, key.to_vec(), value)
    }

    /// Removes a key.
    #[must_use]
    pub const fn delete(table: Table, key: Vec<u8>) -> Self {
        Self::Delete { table, key }
    }
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Why the store stopped. After any of these the node stops too: it never guesses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room: nothing of the failed commit was applied.
    #[error("the disk is full: {0}")]
    Full(String),
    /// Bytes on disk are not what was written.
    #[error("the database is corrupt: {0}")]
    Corrupt(String),
    /// Anything else the disk or the database says.
    #[error("the database failed: {0}")]
    Failed(String),
}

/// A transactional ordered key-value store. Commits are applied in call order; after a
/// crash a prefix of them is found that includes every synced one.
pub trait Store {
    /// Applies all writes atomically; with `sync` they survive a power cut on return.
    ///
    /// # Errors
    /// [`StoreError`]; the store must not be used after one.
    fn commit(&mut self, writes: &[Write], sync: bool) -> Result<(), StoreError>;

    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Rows of `from..to` in key order, at most `rows_max`, stopping once `bytes_max`
    /// bytes of keys and values are reached (at least one row if there is any).
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Row>, StoreError>;
}
