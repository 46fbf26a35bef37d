//! What every projection must hold, whatever the log: its table is its fold.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;

use domain::Timestamp;
use domain::entry::{Entry, Identity, Personal};
use domain::id::EventId;
use ipnet::IpNet;
use proptest::prelude::*;
use uuid::Uuid;

use crate::model::open_read_only;
use crate::recorded::{Carry, Seen};
use crate::table::Projection;
use crate::{
    PersonalPart, ReadModel, Reader, Recorded, Until, api_keys, clients, compare, events,
    for_each_projection, grants, logins, operators, providers, proxies, rebuild,
};
use clients::Clients;
use events::{Condition, EventRow, Events, Search, Span, TypeName};

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
        let client_name = crate::recorded::asking_client(&recorded.entry)
            .and_then(|client_id| clients.get(&client_id))
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

/// Folds a log in batches, each by a read model that is opened anew.
fn follow(path: &Path, log: &[Recorded], batch: usize) {
    for entries in log.chunks(batch) {
        let mut model = ReadModel::open(path).expect("the test's own");
        model.fold(entries).expect("the test's own");
    }
}

/// What the tables and indexes of a file are.
fn schema(path: &Path) -> Vec<String> {
    let db = open_read_only(path).expect("the test's own");
    let sql = "SELECT ifnull(sql, name) FROM sqlite_schema ORDER BY name";
    let mut schema = db.prepare(sql).expect("the test's own");
    let rows = schema
        .query_map([], |row| row.get(0))
        .expect("the test's own");
    rows.map(|row| row.expect("the test's own")).collect()
}

/// A condition that holds of a row, if it has the value: one of each kind.
fn condition(kind: u8, row: &EventRow) -> Option<Condition> {
    let net = |ip: IpAddr| crate::sql::ip_range(&IpNet::new(ip, 31).expect("a prefix"));
    Some(match kind {
        0 => Condition::Request(row.request_id?),
        1 => Condition::Grant(row.grant_id()?),
        2 => Condition::Stream(row.grant_id().is_none().then(|| row.stream.clone())?),
        3 => Condition::Subject(row.subject?),
        4 => Condition::Client(row.client_id?),
        5 => {
            let (first, last) = net(row.ip?);
            Condition::Ip(first, last)
        }
        6 => Condition::Types(vec![
            TypeName::Exact(row.name.to_string()),
            TypeName::Prefix("client".to_owned()),
        ]),
        7 => Condition::Types(vec![TypeName::Prefix(row.name.chars().take(5).collect())]),
        _ => Condition::Proxy(row.proxy_id?),
    })
}

fn is_true_of(condition: &Condition, row: &EventRow) -> bool {
    match condition {
        Condition::Request(id) => row.request_id == Some(*id),
        Condition::Grant(id) => row.grant_id() == Some(*id),
        Condition::Stream(name) => row.stream == *name,
        Condition::Subject(id) => row.subject == Some(*id),
        Condition::Client(id) => row.client_id == Some(*id),
        Condition::Ip(first, last) => row
            .ip
            .is_some_and(|ip| (*first..=*last).contains(&crate::sql::ip_key(ip))),
        Condition::Types(names) => names.iter().any(|name| match name {
            TypeName::Exact(name) => row.name == *name,
            TypeName::Prefix(prefix) => row.name.starts_with(prefix),
        }),
        Condition::Proxy(id) => row.proxy_id == Some(*id),
    }
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
        follow(&path, &log, batch);
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

    /// Built anew from the whole log, the file has the rows and the indexes that following it left.
    #[test]
    fn a_rebuilt_read_model_is_the_one_that_followed(
        steps in prop::collection::vec(any::<Step>(), 1..60),
        batch in 1..20_usize,
    ) {
        let log = log(&steps);
        let folder = tempfile::tempdir().expect("the test's own");
        let followed = folder.path().join("followed.db");
        follow(&followed, &log, batch);
        let source = log.chunks(batch).map(|entries| Ok::<_, Infallible>(entries.to_vec()));
        let path = folder.path().join("rebuilt.db");
        let rebuilt = rebuild(&path, source, Until::End, |_| {}).expect("the test's own");
        rebuilt.place().expect("the test's own");
        prop_assert_eq!(compare(&followed, &path).expect("the test's own"), None);
        prop_assert_eq!(schema(&followed), schema(&path));
    }

    /// It shows the past until it follows the log, and then is as if it always had.
    #[test]
    fn a_read_model_of_the_past_can_go_on(
        steps in prop::collection::vec(any::<Step>(), 2..20),
        end in any::<prop::sample::Index>(),
    ) {
        let log = log(&steps);
        let last = end.index(log.len());
        let folder = tempfile::tempdir().expect("the test's own");
        let path = |name: &str| folder.path().join(name);
        let as_of = |path: &Path| Reader::open(path).and_then(|model| model.as_of()).expect("the test's own");
        follow(&path("followed.db"), &log[..=last], 3);
        for (name, until, expected) in [
            ("position.db", Until::Position(last as u64), Some(log[last].at())),
            ("time.db", Until::Time(Timestamp::UNIX_EPOCH), Some(Timestamp::UNIX_EPOCH)),
            ("beyond.db", Until::Position(log.len() as u64), None),
            ("end.db", Until::End, None),
        ] {
            let source = [Ok::<_, Infallible>(log.clone())].into_iter();
            let rebuilt = rebuild(&path(name), source, until, |_| {}).expect("the test's own");
            rebuilt.place().expect("the test's own");
            prop_assert_eq!(as_of(&path(name)), expected, "{}", name);
        }
        let past = path("position.db");
        prop_assert_eq!(compare(&past, &path("followed.db")).expect("the test's own"), None);
        let mut model = ReadModel::open(&past).expect("the test's own");
        model.fold(&log[last + 1..]).expect("the test's own");
        drop(model);
        prop_assert_eq!(as_of(&past), None);
        prop_assert_eq!(compare(&past, &path("end.db")).expect("the test's own"), None);
    }

    /// In closed segments by their postings, in the open one by walking: what is found is what a
    /// look at every row finds, whichever row's values are searched for.
    #[test]
    fn a_search_finds_every_row_it_is_true_of(
        steps in prop::collection::vec(any::<Step>(), 1..60),
        batch in 1..20_usize,
        sought in any::<prop::sample::Index>(),
        kinds in prop::collection::vec(0..9_u8, 0..3),
        (first, last) in (0..60_u64, 0..60_u64),
        ascending in any::<bool>(),
    ) {
        let log = log(&steps);
        let folder = tempfile::tempdir().expect("the test's own");
        let path = folder.path().join("read.db");
        follow(&path, &log, batch);
        let all: Vec<_> = rows::<Events>(&log).into_values().collect();
        let sought = sought.get(&all);
        let conditions: Vec<_> = kinds.iter().filter_map(|kind| condition(*kind, sought)).collect();
        let search = Search {
            conditions,
            span: Span { first, last },
            since: None,
            until: None,
            ascending,
        };
        let mut found = Vec::new();
        let db = open_read_only(&path).expect("the test's own");
        events::search(&db, &search, |row| {
            found.push(row);
            ControlFlow::Continue(())
        }).expect("the test's own");
        let is_sought = |row: &EventRow| {
            (first..=last).contains(&row.position)
                && search.conditions.iter().all(|condition| is_true_of(condition, row))
        };
        let mut expected: Vec<_> = all.into_iter().filter(is_sought).collect();
        if !ascending {
            expected.reverse();
        }
        prop_assert_eq!(found, expected);
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
