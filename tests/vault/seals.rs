//! Seals of the log's entries: they only become more, are the same whoever makes them, and fit nothing else.

use super::nodes::at_once;
use super::*;

on_both![
    they_fit_what_was_sealed_and_nothing_else,
    nodes_that_seal_at_once_make_the_same,
    of_two_ends_of_a_log_one_is_sealed,
    seals_that_are_gone_are_missed,
    another_master_key_changes_none,
];

/// More than there are in the rows that are read at once.
const MANY: u64 = 16 * 256 + 300;

fn entries(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(|n| format!("entry {n}").into_bytes()).collect()
}

async fn seal(vault: &Vault, more: &[Vec<u8>]) {
    let mut sealing = vault.sealing().expect("read");
    for entry in more {
        sealing.add(entry);
    }
    sealing.write().await.expect("written");
}

async fn sealed(fixture: &Fixture, count: u64) -> Vault {
    let vault = fixture.open();
    seal(&vault, &entries(0..count)).await;
    assert_eq!(vault.sealed_entries().await.expect("read"), count);
    vault
}

/// The first position at which the entries do not fit.
fn first_bad(vault: &Vault, entries: &[Vec<u8>]) -> Option<usize> {
    let mut seals = vault.seals().expect("read");
    let mut fits = |entry: &Vec<u8>| seals.fits(entry).expect("read");
    entries.iter().position(|entry| !fits(entry))
}

async fn they_fit_what_was_sealed_and_nothing_else(fixture: Fixture) {
    let vault = fixture.open();
    assert_eq!(vault.sealed_entries().await.expect("read"), 0);
    assert_eq!(first_bad(&vault, &entries(0..3)), None, "nothing is sealed");
    let mut from = 0;
    for to in [1, 255, 256, 257, 512, MANY] {
        seal(&vault, &entries(from..to)).await;
        assert_eq!(vault.sealed_entries().await.expect("read"), to);
        from = to;
    }
    assert_eq!(vault.seals().expect("read").entries(), MANY);
    let whole = entries(0..MANY + 3);
    assert_eq!(first_bad(&vault, &whole), None);
    for position in [0, 255, 256, 4095, 4096, MANY as usize - 1] {
        let mut changed = whole.clone();
        changed[position].push(b'!');
        assert_eq!(first_bad(&vault, &changed), Some(position));
    }
    let mut swapped = whole.clone();
    swapped.swap(7, 300);
    assert_eq!(first_bad(&vault, &swapped), Some(7));
    let mut inserted = whole.clone();
    inserted.insert(9, b"entry 8".to_vec());
    assert_eq!(first_bad(&vault, &inserted), Some(9));
    let mut removed = whole.clone();
    removed.remove(11);
    assert_eq!(first_bad(&vault, &removed), Some(11));
    let mut later = whole;
    later[MANY as usize] = b"not sealed".to_vec();
    assert_eq!(first_bad(&vault, &later), None);
}

async fn nodes_that_seal_at_once_make_the_same(fixture: Fixture) {
    let vaults = [(); 4].map(|()| fixture.open());
    let sealed = at_once(&vaults, |vault, node| async move {
        let step = 100 + node as u64;
        loop {
            let mut sealing = vault.sealing().expect("read");
            let sealed = sealing.entries();
            if sealed == 2000 {
                break;
            }
            for entry in entries(sealed..(sealed + step).min(2000)) {
                sealing.add(&entry);
            }
            sealing.write().await.expect("written");
        }
    });
    sealed.await;
    let vault = &vaults[0];
    assert_eq!(vault.sealed_entries().await.expect("read"), 2000);
    assert_eq!(first_bad(vault, &entries(0..2000)), None);
    seal(vault, &[]).await;
    assert_eq!(vault.sealed_entries().await.expect("read"), 2000);
}

async fn of_two_ends_of_a_log_one_is_sealed(fixture: Fixture) {
    let vaults = [(); 2].map(|()| fixture.open());
    let end = |node: usize| -> Vec<Vec<u8>> {
        let own = |n: u64| format!("entry {n} of node {node}").into_bytes();
        (0..300 + node as u64).map(own).collect()
    };
    at_once(&vaults, |vault, node| async move {
        seal(&vault, &end(node)).await;
    })
    .await;
    let fitting = (0..2).filter(|node| first_bad(&vaults[0], &end(*node)).is_none());
    assert_eq!(fitting.count(), 1);
}

async fn seals_that_are_gone_are_missed(fixture: Fixture) {
    let vault = sealed(&fixture, MANY).await;
    fixture.run("UPDATE grantlog_vault.seals SET tags = substr(tags, 1, 160) WHERE first = 256");
    assert_eq!(first_bad(&vault, &entries(0..MANY)), Some(266));
    fixture.run("DELETE FROM grantlog_vault.seals WHERE first = 256");
    assert_eq!(first_bad(&vault, &entries(0..MANY)), Some(256));
    seal(&vault, &entries(MANY..MANY + 1)).await;
    assert_eq!(vault.sealed_entries().await.expect("read"), MANY + 1);
    assert_eq!(first_bad(&vault, &entries(0..MANY)), Some(256));
}

async fn another_master_key_changes_none(fixture: Fixture) {
    let vault = sealed(&fixture, 10).await;
    drop(vault);
    let new = new_master_key();
    let vault = fixture
        .open_with(&format!("{new},{}", fixture.master_key))
        .expect("opened");
    vault.rewrap().await.expect("rewrapped");
    drop(vault);
    let vault = fixture.open_with(&new).expect("opened");
    seal(&vault, &entries(10..20)).await;
    assert_eq!(vault.sealed_entries().await.expect("read"), 20);
    assert_eq!(first_bad(&vault, &entries(0..20)), None);
}

#[tokio::test]
async fn a_copy_goes_without_those_of_later_entries() {
    let fixture = Fixture::sqlite();
    let vault = sealed(&fixture, 700).await;
    for (number, kept) in [700, 600, 512, 300, 0].into_iter().enumerate() {
        let copy = fixture.folder().join(format!("copy-{number}.db"));
        vault.backup_to(&copy).await.expect("copied");
        Vault::cut_seals(&copy, kept).expect("cut");
        let keys = MasterKeys::parse(&fixture.master_key).expect("keys");
        let copy = Vault::open_read_only(&copy, keys).expect("opened");
        assert_eq!(copy.sealed_entries().await.expect("read"), kept);
        assert_eq!(first_bad(&copy, &entries(0..kept)), None);
    }
}
