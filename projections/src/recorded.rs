//! What is folded: entries of the log, with what could be opened of their personal part.

use std::net::IpAddr;

use domain::entry::{Entry, Identity, Personal};
use domain::event::{Correlation, Event};
use domain::id::ClientId;
use domain::{Timestamp, audit, grant};
use uuid::Uuid;

/// An entry of the log in its place.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Where it stands in the log.
    pub position: u64,
    /// What was recorded.
    pub entry: Entry,
    /// What is sealed beside it.
    pub personal: PersonalPart,
}

/// The personal part of an entry.
#[derive(Clone, Debug)]
pub enum PersonalPart {
    /// Nothing was sealed.
    Absent,
    /// Its key was destroyed.
    Erased,
    /// It should open and does not.
    Unopened(Unopened),
    /// It could be opened.
    Known(Personal),
}

/// Why a personal part does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// There is no key for it: the vault is older than the log, or has lost it.
    NoKey,
    /// It is not what was sealed with its entry.
    Tampered,
}

impl Recorded {
    pub(crate) fn at(&self) -> Timestamp {
        self.entry.envelope.recorded_at
    }

    pub(crate) fn identity(&self) -> Option<&Identity> {
        match &self.personal {
            PersonalPart::Known(personal) => personal.identity.as_ref(),
            PersonalPart::Absent | PersonalPart::Erased | PersonalPart::Unopened(_) => None,
        }
    }
}

/// An entry with what it shares with those before it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub recorded: &'a Recorded,
    pub circumstances: &'a Circumstances,
    /// What the client it is about called itself until then.
    pub client_name: Option<&'a str>,
}

impl Seen<'_> {
    pub fn at(&self) -> Timestamp {
        self.recorded.at()
    }

    pub fn event(&self) -> &Event {
        &self.recorded.entry.event
    }

    pub fn stream(&self) -> &str {
        &self.recorded.entry.envelope.stream
    }
}

/// The request behind an append.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// Where it came from.
    pub ip: Option<IpAddr>,
    /// What it called itself.
    pub user_agent: Option<String>,
}

/// The circumstances of the latest append, as one goes through a log or a stream. They are sealed with its first
/// entry only; the others follow next, in the same stream and for the same request.
#[derive(Clone, Debug, Default)]
pub struct Carry {
    stream: String,
    request_id: Option<Uuid>,
    /// Those of the entry it was moved to.
    pub circumstances: Circumstances,
}

impl Carry {
    pub(crate) fn new(
        stream: String,
        request_id: Option<Uuid>,
        circumstances: Circumstances,
    ) -> Self {
        Self {
            stream,
            request_id,
            circumstances,
        }
    }

    /// Moves on to the next entry.
    pub fn step(&mut self, recorded: &Recorded) {
        let envelope = &recorded.entry.envelope;
        let circumstances = match &recorded.personal {
            PersonalPart::Known(personal) => Circumstances {
                ip: personal.ip,
                user_agent: personal.user_agent.clone(),
            },
            PersonalPart::Absent
                if envelope.request_id.is_some()
                    && envelope.request_id == self.request_id
                    && envelope.stream == self.stream =>
            {
                return;
            }
            PersonalPart::Absent | PersonalPart::Erased | PersonalPart::Unopened(_) => {
                Circumstances::default()
            }
        };
        self.stream.clone_from(&envelope.stream);
        self.request_id = envelope.request_id;
        self.circumstances = circumstances;
    }
}

/// Whom and what an entry is about. A failed login authorized nobody, so that its envelope is
/// silent about whom it concerned; its request says it.
pub(crate) fn about(entry: &Entry) -> Correlation {
    let known = entry.envelope.correlation;
    match requested(&entry.event) {
        Some(request) => Correlation {
            proxy_id: known.proxy_id.or(Some(request.proxy_id)),
            client_id: known.client_id.or(Some(request.client_id)),
            subject: known.subject,
        },
        None => known,
    }
}

/// The client whose authorization attempt an entry ends, if it does and that is certain.
pub(crate) fn asking_client(entry: &Entry) -> Option<ClientId> {
    let ends_one =
        requested(&entry.event).is_some() || refused_authorization(&entry.event).is_some();
    about(entry).client_id.filter(|_| ends_one)
}

/// An authorization request that was refused before anybody was sent to log in. What a browser brings back that was never sent
/// is no attempt: anybody can make one up, of anybody.
pub(crate) fn refused_authorization(event: &Event) -> Option<&audit::RequestRefused> {
    match event {
        Event::Audit(audit::Event::RequestRefused(refused)) => {
            (refused.endpoint == "authorization").then_some(refused)
        }
        _ => None,
    }
}

/// The authorization request that an event answers, if it does.
pub(crate) fn requested(event: &Event) -> Option<&grant::Requested> {
    match event {
        Event::Grant(event) => match event {
            grant::Event::LoginSucceeded(login) => Some(&login.request),
            grant::Event::LoginFailed(failed) => Some(&failed.request),
            grant::Event::ConsentDenied(denied) => Some(&denied.request),
            grant::Event::CodeIssued(_)
            | grant::Event::CodeRedeemed(_)
            | grant::Event::CodeReplayed(_)
            | grant::Event::RefreshTokenRotated(_)
            | grant::Event::RefreshTokenRetried(_)
            | grant::Event::RefreshTokenReused(_)
            | grant::Event::AccessTokenFirstUsed(_)
            | grant::Event::UpstreamTokenRefreshed(_)
            | grant::Event::Revoked(_) => None,
        },
        Event::Provider(_)
        | Event::Proxy(_)
        | Event::Client(_)
        | Event::Subject(_)
        | Event::Operator(_)
        | Event::ApiKey(_)
        | Event::Audit(_)
        | Event::Key(_) => None,
    }
}
