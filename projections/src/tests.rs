//! What every projection must hold, whatever the log: its table is its fold.

use std::collections::BTreeMap;
use std::net::IpAddr;

use domain::entry::{Entry, Identity, Personal};
use domain::id::EventId;
use proptest::prelude::*;
use uuid::Uuid;

use crate::model::open_read_only;
use crate::recorded::{Carry, Seen};
use crate::table::Projection;
use crate::{
    PersonalPart, ReadModel, Recorded, api_keys, clients, events, for_each_projection, grants,
    logins, operators, providers, proxies,
};
use clients::Clients;

/// An event of every type, from the frozen samples.
fn samples() -> Vec<Entry> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/tests/golden");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the samples are there")
        .map(|file| file.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let bytes = std::fs::read(path).expect("readable");
            Entry::decode(bytes.trim_ascii_end()).expect("a sample decodes")
        })
        .collect()
}

/// One step of a log: which sample, in which of a few streams, with which circumstances.
type Step = (prop::sample::Index, u8, u8, bool);

fn log(steps: &[Step]) -> Vec<Recorded> {
    let samples = samples();
    let mut log = Vec::new();
    for (position, (sample, stream, circumstances, is_same_append)) in (0..).zip(steps) {
        let mut entry = sample.get(&samples).clone();
        let envelope = &mut entry.envelope;
        envelope.id = EventId(Uuid::from_u128(u128::from(position)));
        envelope.recorded_at +=
            chrono::TimeDelta::seconds(i64::try_from(position).expect("the test's own"));
        envelope.stream = other_stream(&envelope.stream, *stream);
        envelope.request_id = Some(Uuid::from_u128(if *is_same_append { 1 } else { 2 }));
        let personal = match circumstances % 3 {
            0 => PersonalPart::Absent,
            1 => PersonalPart::Erased,
            _ => PersonalPart::Known(Personal {
                ip: Some(IpAddr::from([203, 0, 113, *circumstances])),
                user_agent: Some(format!("agent {circumstances}")),
                identity: Some(Identity {
                    email: Some(format!("ada{circumstances}@example.com")),
                    email_verified: true,
                    name: None,
                    upstream_sub: None,
                }),
                query: None,
            }),
        };
        log.push(Recorded {
            position,
            entry,
            personal,
        });
    }
    log
}

/// The same kind of stream with another id: its last hexadecimal digit, or its number, changed. A
/// client's id is also in its events and stays.
fn other_stream(stream: &str, n: u8) -> String {
    if stream.starts_with("client-") {
        return stream.to_owned();
    }
    let mut name = stream.to_owned();
    if let Some(last) = name.pop() {
        let digit = match last {
            '1'..='9' if stream.starts_with("pro") => (b'1' + n % 3) as char,
            _ => (b'a' + n % 3) as char,
        };
        name.push(digit);
    }
    name
}

/// The fold in memory, without any table.
fn rows<P: Projection>(log: &[Recorded]) -> BTreeMap<P::Key, P::Row> {
    let mut carry = Carry::default();
    let mut rows = BTreeMap::new();
    let mut clients: BTreeMap<_, <Clients as Projection>::Row> = BTreeMap::new();
    for recorded in log {
        carry.step(recorded);
        let client_name = crate::recorded::requested(&recorded.entry.event)
            .and_then(|request| clients.get(&request.client_id))
            .and_then(|client| client.client_name.clone());
        let seen = Seen {
            recorded,
            circumstances: &carry.circumstances,
            client_name: client_name.as_deref(),
        };
        if let Some(key) = Clients::key(&seen).expect("streams match") {
            let row = Clients::fold(clients.remove(&key), &seen);
            row.map(|row| clients.insert(key, row));
        }
        if let Some(key) = P::key(&seen).expect("streams match") {
            let before = if P::APPENDS { None } else { rows.remove(&key) };
            let row = P::fold(before, &seen);
            row.map(|row| rows.insert(key, row));
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// In batches of any size, reopened between them, from events in any order.
    #[test]
    fn every_table_is_its_fold(
        steps in prop::collection::vec(any::<Step>(), 1..60),
        batch in 1..20_usize,
    ) {
        let log = log(&steps);
        let folder = tempfile::tempdir().expect("the test's own");
        let path = folder.path().join("read.db");
        for entries in log.chunks(batch) {
            let mut model = ReadModel::open(&path).expect("the test's own");
            model.fold(entries).expect("the test's own");
        }
        let db = open_read_only(&path).expect("the test's own");
        macro_rules! check {
            ($field:ident, $projection:ty) => {
                for (key, row) in rows::<$projection>(&log) {
                    let stored = <$projection>::load(&db, &key).expect("the test's own");
                    prop_assert_eq!(stored, Some(row), "{} {:?}", stringify!($field), key);
                }
            };
        }
        for_each_projection!(check);
    }

    /// A batch that begins elsewhere than where the last one ended is refused and changes nothing.
    #[test]
    fn a_gap_is_refused(steps in prop::collection::vec(any::<Step>(), 3..8)) {
        let log = log(&steps);
        let folder = tempfile::tempdir().expect("the test's own");
        let mut model = ReadModel::open(&folder.path().join("read.db")).expect("the test's own");
        model.fold(&log[..1]).expect("the test's own");
        prop_assert!(model.fold(&log[2..]).is_err());
        prop_assert_eq!(model.position(), 1);
        model.fold(&log[1..]).expect("the test's own");
    }
}
