//! How fast a log is replayed: entries decoded from their bytes and folded into a new file.
//!
//! `cargo bench -p projections` replays a million entries; another number can be given after
//! `--`. The log is that of people who log in, refresh and call: about 27 events a grant, two
//! thousand grants active at a time.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use chrono::{DateTime, TimeDelta};
use domain::entry::{Actor, Entry, EntryError, Envelope, Identity, Personal, encode};
use domain::event::{Correlation, Event};
use domain::id::{ClientId, EventId, GrantId, ProviderId, ProxyId, SubjectId};
use domain::secret::SecretHash;
use domain::{Timestamp, client, grant, subject};
use projections::{PersonalPart, Recorded, Until, rebuild};
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

/// That of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let entries = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let started = Instant::now();
    write_log(
        &mut BufWriter::new(File::create(&log).expect("a log")),
        entries,
    );
    report("generated", entries, started);
    let bytes = std::fs::metadata(&log).expect("a log").len();
    eprintln!("{entries} entries, {} bytes each", bytes / entries);

    let started = Instant::now();
    let mut decoded = 0;
    for batch in Batches::open(&log) {
        decoded += batch.expect("entries").len();
    }
    report("decoded", decoded as u64, started);

    let started = Instant::now();
    let read_model = folder.path().join("read.db");
    let rebuilt = rebuild(&read_model, Batches::open(&log), Until::End, |_| {}).expect("rebuilt");
    report("decoded and folded", rebuilt.position(), started);
    let size = std::fs::metadata(rebuilt.file()).expect("a file").len();
    eprintln!("{} MB, {} bytes an entry", size >> 20, size / entries);
}

fn report(what: &str, entries: u64, started: Instant) {
    let s = started.elapsed().as_secs_f64();
    eprintln!(
        "{what}: {:.0} thousand entries/s ({s:.2} s)",
        entries as f64 / s / 1e3
    );
}

/// The log read back: length, flags, bytes.
struct Batches {
    log: BufReader<File>,
    position: u64,
}

const BATCH: usize = 256;

impl Batches {
    fn open(path: &std::path::Path) -> Self {
        Self {
            log: BufReader::with_capacity(1 << 20, File::open(path).expect("a log")),
            position: 0,
        }
    }

    fn next_entry(&mut self) -> Option<Result<Recorded, EntryError>> {
        let mut head = [0; 12];
        self.log.read_exact(&mut head).ok()?;
        let [length @ .., _, _, _, _, _, _, _, _] = head;
        let seed = u64::from_le_bytes(head[4..].try_into().expect("8 bytes"));
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        self.log.read_exact(&mut bytes).expect("whole entries");
        let position = self.position;
        self.position += 1;
        Some(Entry::decode(&bytes).map(|entry| Recorded {
            position,
            personal: personal(seed, &entry),
            entry,
        }))
    }
}

impl Iterator for Batches {
    type Item = Result<Vec<Recorded>, EntryError>;
    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH {
            match self.next_entry() {
                Some(Ok(recorded)) => batch.push(recorded),
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        (!batch.is_empty()).then_some(Ok(batch))
    }
}

/// What was sealed beside an entry: 0 is nothing.
fn personal(seed: u64, entry: &Entry) -> PersonalPart {
    if seed == 0 {
        return PersonalPart::Absent;
    }
    let is_login = matches!(&entry.event, Event::Grant(grant::Event::LoginSucceeded(_)));
    PersonalPart::Known(Personal {
        ip: Some(IpAddr::V4(Ipv4Addr::from(mix(seed) as u32))),
        user_agent: Some(format!("Agent/{}.0 (a client of some kind)", seed % 40)),
        identity: is_login.then(|| Identity {
            email: Some(format!("person{seed}@example.com")),
            email_verified: true,
            name: Some(format!("Person {seed}")),
            upstream_sub: None,
        }),
        query: None,
    })
}

fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

fn uuid(kind: u64, n: u64) -> Uuid {
    Uuid::from_u64_pair(mix(n.wrapping_mul(8).wrapping_add(kind)), mix(n + 1))
}

/// A person with a client, somewhere in their story.
struct Story {
    n: u64,
    step: u32,
    version: u64,
}

fn write_log(log: &mut impl Write, entries: u64) {
    let mut active: Vec<Story> = Vec::new();
    let (mut begun, mut written, mut draw) = (0, 0, 1);
    while written < entries {
        draw = mix(draw + 1);
        let slot = (draw % 2000) as usize;
        if slot >= active.len() {
            active.push(Story {
                n: begun,
                step: 0,
                version: 0,
            });
            begun += 1;
            continue;
        }
        let at = DateTime::from_timestamp_micros(1_780_000_000_000_000 + written as i64 * 2500);
        let at = at.expect("a time");
        let story = &mut active[slot];
        for (n, (stream, event)) in events(story, at).into_iter().enumerate() {
            write_entry(log, story, stream, event, at, written, n == 0);
            written += 1;
        }
        story.step += 1;
        if story.step > 26 {
            *story = Story {
                n: begun,
                step: 0,
                version: 0,
            };
            begun += 1;
        }
    }
    log.flush().expect("written");
}

fn write_entry(
    log: &mut impl Write,
    story: &mut Story,
    stream: String,
    event: Event,
    at: Timestamp,
    position: u64,
    is_first: bool,
) {
    let client_id = ClientId(uuid(1, story.n / 2));
    let envelope = Envelope {
        id: EventId(uuid(2, position)),
        stream,
        version: story.version,
        recorded_at: at,
        actor: Actor::Client(client_id),
        correlation: Correlation {
            proxy_id: Some(ProxyId(1 + (story.n % 5) as u32)),
            client_id: Some(client_id),
            subject: Some(SubjectId(uuid(3, story.n / 3))),
        },
        request_id: Some(uuid(4, position - u64::from(!is_first))),
    };
    story.version += 1;
    let commitment = "kZ3mV1p6cQ8sT0uWxYzABCDEFGHIJKLMNOPQRSTUVWX";
    let bytes = encode(&envelope, &event, is_first.then_some(commitment));
    log.write_all(&(bytes.len() as u32).to_le_bytes())
        .expect("written");
    log.write_all(&(u64::from(is_first) * (1 + story.n / 3)).to_le_bytes())
        .expect("written");
    log.write_all(&bytes).expect("written");
}

fn events(story: &Story, at: Timestamp) -> Vec<(String, Event)> {
    let n = story.n;
    let (client_id, later) = (ClientId(uuid(1, n / 2)), at + TimeDelta::hours(1));
    let grant = grant::stream(GrantId(uuid(5, n)));
    match story.step {
        0 if n.is_multiple_of(2) => vec![(format!("client-{client_id}"), registered(client_id))],
        0 | 1 if n.is_multiple_of(3) => {
            let seen = subject::FirstSeen {
                subject: SubjectId(uuid(3, n / 3)),
                provider_id: ProviderId(1),
            };
            let stream = format!("subject-{}", SubjectId(uuid(3, n / 3)));
            vec![(stream, subject::Event::FirstSeen(seen).into())]
        }
        0..=2 => vec![(grant.clone(), login(n, client_id, at)), (grant, code(at))],
        3 => vec![(grant, redeemed(later))],
        step if step % 2 == 0 => {
            let jti = EventId(uuid(2, n + u64::from(step)));
            let used = grant::AccessTokenFirstUsed { jti };
            vec![(grant, grant::Event::AccessTokenFirstUsed(used).into())]
        }
        25 if n.is_multiple_of(4) => {
            let revoked = grant::Revoked {
                reason: grant::RevocationReason::ClientRequest,
                access_tokens_expire_at: Some(later),
            };
            vec![(grant, grant::Event::Revoked(revoked).into())]
        }
        step => {
            let rotated = grant::RefreshTokenRotated {
                generation: step / 2,
                expires_at: at + TimeDelta::days(30),
                access_token_expires_at: later,
                scope: None,
                resource: None,
            };
            vec![(grant, grant::Event::RefreshTokenRotated(rotated).into())]
        }
    }
}

fn from_json<T: DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("an event's shape")
}

fn registered(client_id: ClientId) -> Event {
    let registered: client::Registered = from_json(json!({
        "client_id": client_id, "proxy_id": 1,
        "metadata": {
            "redirect_uris": ["http://127.0.0.1:33418/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "client_name": "Some client",
        },
        "registration_token_sha256": SecretHash::of("token"),
    }));
    client::Event::Registered(Box::new(registered)).into()
}

fn login(n: u64, client_id: ClientId, at: Timestamp) -> Event {
    let login: grant::LoginSucceeded = from_json(json!({
        "proxy_id": 1 + n % 5, "client_id": client_id, "provider_id": 1,
        "redirect_uri": "http://127.0.0.1:33418/callback", "scope": "read write",
        "resource": "https://gateway.example.com/proxy/1/mcp",
        "requested_at": at - TimeDelta::seconds(9), "subject": SubjectId(uuid(3, n / 3)),
        "consent": "given", "expires_at": at + TimeDelta::days(365),
    }));
    grant::Event::LoginSucceeded(login).into()
}

fn code(at: Timestamp) -> Event {
    let code: grant::CodeIssued = from_json(json!({
        "code_sha256": SecretHash::of("code"),
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "expires_at": at + TimeDelta::seconds(60),
    }));
    grant::Event::CodeIssued(code).into()
}

fn redeemed(access_token_expires_at: Timestamp) -> Event {
    let redeemed: grant::CodeRedeemed = from_json(json!({
        "access_token_expires_at": access_token_expires_at,
        "refresh_token": {
            "salt": "AAECAwQFBgcICQoLDA0ODw",
            "expires_at": access_token_expires_at + TimeDelta::days(30),
        },
    }));
    grant::Event::CodeRedeemed(redeemed).into()
}
