//! What every [`Store`] must do, as functions over any of them: the node runs them on
//! RocksDB, the simulator on its own. Each takes a way to open a store; opening again
//! must find what was committed. They panic with what went wrong.

use fairlane_replica::{Row, Store, Table, Write};

/// Key, value, table: shorthand for the tests below.
fn put(table: Table, key: &[u8], value: &[u8]) -> Write {
    Write::put(table, key.to_vec(), value.to_vec())
}

fn delete(table: Table, key: &[u8]) -> Write {
    Write::Delete {
        table,
        key: key.to_vec(),
    }
}

fn delete_range(table: Table, from: &[u8], to: &[u8]) -> Write {
    Write::DeleteRange {
        table,
        from: from.to_vec(),
        to: to.to_vec(),
    }
}

fn commit(store: &mut impl Store, writes: &[Write], sync: bool) {
    store.commit(writes, sync).expect("commit");
}

fn get(store: &impl Store, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    store.get(table, key).expect("get")
}

fn scan(store: &impl Store, table: Table, from: &[u8], to: &[u8]) -> Vec<Row> {
    store
        .scan(table, from, to, usize::MAX, usize::MAX)
        .expect("scan")
}

fn keys(rows: &[Row]) -> Vec<&[u8]> {
    rows.iter().map(|(key, _)| &key[..]).collect()
}

/// Runs everything here; `open` must give an empty store for every new `name` and the
/// same one again for the same name, once the one before is dropped.
pub fn all<S: Store>(mut open: impl FnMut(&str) -> S) {
    reads_back_what_was_written(open("read"));
    keeps_tables_apart(open("tables"));
    applies_writes_in_order(open("order"));
    scans_in_byte_order_within_limits(open("scan"));
    deletes_ranges_without_their_end(open("range"));
    takes_edge_cases(open("edges"));
    agrees_with_a_map(open("map"));
    finds_synced_commits_again(|| open("again"));
}

/// Put, overwrite, delete.
pub fn reads_back_what_was_written<S: Store>(mut store: S) {
    assert_eq!(get(&store, Table::Blocks, b"k"), None);
    commit(&mut store, &[put(Table::Blocks, b"k", b"1")], false);
    assert_eq!(get(&store, Table::Blocks, b"k").as_deref(), Some(&b"1"[..]));
    commit(&mut store, &[put(Table::Blocks, b"k", b"2")], true);
    assert_eq!(get(&store, Table::Blocks, b"k").as_deref(), Some(&b"2"[..]));
    commit(&mut store, &[delete(Table::Blocks, b"k")], false);
    assert_eq!(get(&store, Table::Blocks, b"k"), None);
}

/// The same key in two tables is two keys.
pub fn keeps_tables_apart<S: Store>(mut store: S) {
    let writes: Vec<Write> = Table::ALL
        .iter()
        .map(|t| put(*t, b"same", t.name().as_bytes()))
        .collect();
    commit(&mut store, &writes, true);
    for table in Table::ALL {
        assert_eq!(
            get(&store, table, b"same").as_deref(),
            Some(table.name().as_bytes())
        );
    }
    commit(&mut store, &[delete_range(Table::Lanes, b"", b"z")], true);
    for table in Table::ALL {
        assert_eq!(get(&store, table, b"same").is_some(), table != Table::Lanes);
    }
}

/// Within one commit the last write to a key wins, whatever its kind.
pub fn applies_writes_in_order<S: Store>(mut store: S) {
    let t = Table::Safety;
    commit(
        &mut store,
        &[
            put(t, b"a", b"1"),
            delete(t, b"a"),
            put(t, b"b", b"1"),
            delete_range(t, b"a", b"z"),
            put(t, b"c", b"1"),
            put(t, b"c", b"2"),
        ],
        true,
    );
    assert_eq!(
        scan(&store, t, b"", b"z"),
        vec![(b"c".to_vec(), b"2".to_vec())]
    );
}

/// Byte order; half-open; at most `rows_max` rows; at least one row, then `bytes_max`.
pub fn scans_in_byte_order_within_limits<S: Store>(mut store: S) {
    let t = Table::Payloads;
    for key in [&[2][..], &[1, 255], &[255, 0], &[1], &[0, 1], &[255]] {
        commit(&mut store, &[put(t, key, &[7; 10])], false);
    }
    let rows = scan(&store, t, &[], &[255, 255]);
    assert_eq!(
        keys(&rows),
        [&[0, 1][..], &[1], &[1, 255], &[2], &[255], &[255, 0]]
    );
    let rows = scan(&store, t, &[1], &[255]);
    assert_eq!(keys(&rows), [&[1][..], &[1, 255], &[2]]);
    let rows = store.scan(t, &[1], &[255], 2, usize::MAX).expect("scan");
    assert_eq!(keys(&rows), [&[1][..], &[1, 255]]);
    assert_eq!(
        store
            .scan(t, &[1], &[255], usize::MAX, 1)
            .expect("scan")
            .len(),
        1
    );
    // 1 + 10 bytes, then 2 + 10: the second row reaches 23.
    assert_eq!(
        store
            .scan(t, &[1], &[255], usize::MAX, 12)
            .expect("scan")
            .len(),
        2
    );
    assert_eq!(
        store
            .scan(t, &[1], &[255], 0, usize::MAX)
            .expect("scan")
            .len(),
        0
    );
}

/// `from` goes, `to` stays; keys written later are not affected.
pub fn deletes_ranges_without_their_end<S: Store>(mut store: S) {
    let t = Table::Sequence;
    let key = |n: u64| n.to_be_bytes();
    let writes: Vec<Write> = (0..10).map(|n| put(t, &key(n), b"v")).collect();
    commit(&mut store, &writes, false);
    commit(&mut store, &[delete_range(t, &key(2), &key(5))], true);
    let left = scan(&store, t, &key(0), &key(u64::MAX));
    let left: Vec<u8> = left.iter().map(|(k, _)| k[7]).collect();
    assert_eq!(left, [0, 1, 5, 6, 7, 8, 9]);
    commit(&mut store, &[put(t, &key(3), b"new")], true);
    assert_eq!(get(&store, t, &key(3)).as_deref(), Some(&b"new"[..]));
}

/// Empty commits, values, keys and ranges; a large value.
pub fn takes_edge_cases<S: Store>(mut store: S) {
    let t = Table::Evidence;
    commit(&mut store, &[], false);
    commit(&mut store, &[], true);
    commit(
        &mut store,
        &[put(t, b"empty", b""), put(t, b"", b"no key")],
        true,
    );
    assert_eq!(get(&store, t, b"empty"), Some(Vec::new()));
    assert_eq!(get(&store, t, b"").as_deref(), Some(&b"no key"[..]));
    commit(
        &mut store,
        &[delete_range(t, b"e", b"e"), delete_range(t, b"z", b"a")],
        true,
    );
    assert_eq!(scan(&store, t, b"", b"z").len(), 2);
    assert!(scan(&store, t, b"z", b"a").is_empty());
    assert!(scan(&store, t, b"e", b"e").is_empty());
    assert!(get(&store, t, b"none").is_none());
    let large = vec![0xA5; 3 << 20];
    commit(&mut store, &[put(t, b"large", &large)], true);
    assert_eq!(get(&store, t, b"large"), Some(large));
}

/// A few hundred commits of a fixed pseudo-random course against a sorted map.
pub fn agrees_with_a_map<S: Store>(mut store: S) {
    let t = Table::Index;
    let mut map = std::collections::BTreeMap::<Vec<u8>, Vec<u8>>::new();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |bound: u64| {
        // Splitmix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    };
    for round in 0..300_u32 {
        let mut writes = Vec::new();
        for _ in 0..next(5) {
            let key = vec![next(16) as u8, next(4) as u8];
            match next(6) {
                0 => {
                    map.remove(&key);
                    writes.push(Write::Delete { table: t, key });
                }
                1 => {
                    let to = vec![key[0].saturating_add(next(3) as u8), next(4) as u8];
                    if key < to {
                        map.retain(|k, _| *k < key || *k >= to);
                    }
                    writes.push(Write::DeleteRange {
                        table: t,
                        from: key,
                        to,
                    });
                }
                _ => {
                    let value = round.to_be_bytes().to_vec();
                    map.insert(key.clone(), value.clone());
                    writes.push(Write::put(t, key, value));
                }
            }
        }
        commit(&mut store, &writes, round % 7 == 0);
        let want: Vec<Row> = map.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(scan(&store, t, &[], &[255]), want, "after commit {round}");
    }
}

/// Everything up to the last synced commit survives closing and opening.
pub fn finds_synced_commits_again<S: Store>(mut open: impl FnMut() -> S) {
    let t = Table::Safety;
    for n in 0..5_u8 {
        let mut store = open();
        let rows = scan(&store, t, &[], &[255]);
        assert_eq!(rows.len(), usize::from(n) * 2, "opened for the {n}th time");
        // An unsynced commit before a synced one is found with it.
        commit(&mut store, &[put(t, &[n, 0], b"unsynced")], false);
        commit(&mut store, &[put(t, &[n, 1], b"synced")], true);
    }
    assert_eq!(get(&open(), t, &[4, 0]).as_deref(), Some(&b"unsynced"[..]));
}
