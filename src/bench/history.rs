//! A log that has seen much: what one real grant left in it, again and again under other identities.
//!
//! Without what was sealed beside it, which belongs to the person. Nothing of it can be presented at the server, for the log
//! holds no tokens.

use chrono::TimeDelta;
use domain::Timestamp;
use domain::entry::{Entry, encode};
use domain::event::Event;
use domain::grant;
use domain::id::GrantId;

use super::connection::Connection;
use super::node::Place;
use super::{BenchError, Fallible, flow};
use crate::clock;
use crate::log::{Append, Log, NewEntry, Options, StoredEntry};

/// How many entries each grant has.
const EACH: usize = 16;
/// How many grants share a commit.
const TOGETHER: u64 = 256;
/// The time from one entry to the next: ten million take four months.
const PACE: TimeDelta = TimeDelta::seconds(1);

/// Makes a store at `place` whose log has at least so many entries; nobody serves from it meanwhile.
pub(super) async fn write(place: &Place<'_>, provider: &str, entries: u64) -> Fallible<()> {
    let node = place.start().await?;
    let mut server = Connection::open(&node.host).await?;
    let mut provider = Connection::open(provider).await?;
    let client = flow::register(&mut server).await?;
    let code = flow::log_in(&mut server, &mut provider, &client).await?;
    let tokens = flow::redeem(&mut server, &client, &code).await?;
    flow::refresh(&mut server, &client, &tokens.refresh_token).await?;
    drop(server);
    node.stop().await?;

    let log = Log::open(&place.data(), Options { migrate: false })?;
    let all = log.read_after(0, usize::MAX).await.map_err(unusable)?;
    let story = story(&all)?;
    let now = clock::now();
    while log.head() < entries {
        let left = i32::try_from(entries - log.head()).unwrap_or(i32::MAX);
        let appends = (0..TOGETHER).map(|_| again(&story, now - PACE * left));
        let appends = appends.collect();
        for answer in log.append_batch(appends).await {
            answer.map_err(unusable)?;
        }
    }
    log.close().await;
    Ok(())
}

/// The entries of the only grant.
fn story(all: &[StoredEntry]) -> Fallible<Vec<Entry>> {
    let entries = all.iter().map(|stored| Entry::decode(&stored.entry));
    let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(unusable)?;
    entries.retain(|entry| matches!(entry.event, Event::Grant(_)));
    match entries.last().map(|entry| &entry.event) {
        Some(Event::Grant(grant::Event::RefreshTokenRotated(_))) => Ok(entries),
        last => Err(unusable(format_args!("the grant ends with {last:?}"))),
    }
}

/// The same of another grant, at another time; it is refreshed again until it has enough entries.
fn again(story: &[Entry], at: Timestamp) -> Append {
    let stream = grant::stream(GrantId(clock::event_id().0));
    let refreshes = story.last().into_iter().cycle();
    let entries = (0..).zip(story.iter().chain(refreshes)).take(EACH);
    let entries = entries.map(|(version, entry)| {
        let mut envelope = entry.envelope.clone();
        envelope.id = clock::event_id();
        envelope.stream.clone_from(&stream);
        envelope.version = version;
        envelope.recorded_at = at;
        let mut event = entry.event.clone();
        if let Event::Grant(grant::Event::RefreshTokenRotated(rotated)) = &mut event {
            rotated.generation += u32::try_from(version - entry.envelope.version).unwrap_or(0);
        }
        NewEntry {
            entry: encode(&envelope, &event, None),
            sealed: None,
        }
    });
    Append {
        entries: entries.collect(),
        stream: stream.clone(),
        expected: 0,
        premises: Vec::new(),
    }
}

fn unusable(why: impl std::fmt::Display) -> BenchError {
    BenchError::Server(format!("no history can be written: {why}"))
}
