//! A client that registered itself (RFC 7591) and manages its registration (RFC 7592).
//!
//! Stream `client-<id>`. A client belongs to the proxy it registered at, because every proxy is
//! an issuer of its own. Only hashes of its secret and of its registration token are kept; the
//! token is replaced with every update. A client that nobody ever authorized may expire, one that
//! was authorized never does. What is gone stays gone: an id is never given out again.

mod authentication;
pub mod metadata;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::authentication::{Credentials, Denial, Endpoint};
use self::metadata::ClientMetadata;
use crate::event::Correlation;
use crate::id::{ClientId, OperatorId, ProxyId};
use crate::secret::SecretHash;
use crate::{Aggregate, Fact, Refusal, Timestamp};

/// What may be asked of a client's stream.
#[derive(Clone, Debug)]
pub enum Command {
    /// Make it known.
    Register(Box<Register>),
    /// Replace its metadata as a whole (RFC 7592 §2.2).
    Update(Box<Update>),
    /// Take it away; its grants are revoked apart.
    Remove(Remover),
    /// A person authorized it; only the first time is recorded.
    RecordFirstAuthorization,
    /// Take it away because nobody ever authorized it.
    Expire {
        /// Clients that registered later may still be on their way.
        registered_before: Timestamp,
    },
}

/// Make a client known.
#[derive(Clone, Debug)]
pub struct Register {
    /// Its new id.
    pub client_id: ClientId,
    /// Where it registers.
    pub proxy_id: ProxyId,
    /// What it says about itself.
    pub metadata: ClientMetadata,
    /// A fresh secret; a public client gets none.
    pub secret: KeptSecret,
    /// Hash of the token that manages the registration.
    pub registration_token: SecretHash,
}

/// Replace a client's metadata.
#[derive(Clone, Debug)]
pub struct Update {
    /// Hash of the registration token as presented.
    pub registration_token: SecretHash,
    /// What it says about itself from now on.
    pub metadata: ClientMetadata,
    /// Who it says it is, if it says so.
    pub named: Named,
    /// A fresh secret, for a client that was public and is no more; others keep what they have.
    pub secret: KeptSecret,
    /// Hash of the token that manages the registration from now on.
    pub next_registration_token: SecretHash,
}

/// Whom an update is about by its own words (RFC 7592 §2.2). What is there must be right; what is
/// left out is forgiven, though `client_id` must not be: the address and the token name the client.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// `client_id`, if sent.
    pub client_id: Option<String>,
    /// Hash of `client_secret`, if sent.
    pub secret: Option<SecretHash>,
}

/// Who takes a client away.
#[derive(Clone, Copy, Debug)]
pub enum Remover {
    /// The client itself.
    Client {
        /// Hash of the registration token as presented.
        registration_token: SecretHash,
    },
    /// An operator.
    Operator(OperatorId),
}

/// What can happen to a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It became known.
    Registered(Box<Registered>),
    /// Its metadata was replaced.
    Updated(Box<Updated>),
    /// A person authorized it for the first time.
    FirstAuthorized(FirstAuthorized),
    /// It was taken away.
    Removed(Removed),
    /// It was never used and was taken away.
    Expired(Expired),
}

/// A client became known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its id.
    pub client_id: ClientId,
    /// Where it registered.
    pub proxy_id: ProxyId,
    /// What it says about itself.
    pub metadata: ClientMetadata,
    /// Its secret; absent for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeptSecret>,
    /// Hash of the token that manages the registration.
    #[serde(rename = "registration_token_sha256")]
    pub registration_token: SecretHash,
}

/// A client's metadata was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// What it says about itself from now on.
    pub metadata: ClientMetadata,
    /// Its new secret; absent: a confidential client keeps its own, a public one has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeptSecret>,
    /// Hash of the token that manages the registration from now on.
    #[serde(rename = "registration_token_sha256")]
    pub registration_token: SecretHash,
}

/// A person authorized the client for the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstAuthorized {}

/// A client was taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The operator who did it; absent: the client itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<OperatorId>,
}

/// A client that was never used was taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {}

/// A client secret as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSecret {
    /// Its hash.
    #[serde(rename = "sha256")]
    pub hash: SecretHash,
    /// When it ends; absent: never.
    #[serde(
        with = "crate::timestamp::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub expires_at: Option<Timestamp>,
}

/// The rules of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// The id is taken.
    #[error("a client with this id exists")]
    Exists,
    /// There is none of this id, or no more.
    #[error("there is no such client")]
    Unknown,
    /// The presented registration token is not the current one.
    #[error("wrong registration token")]
    RegistrationToken,
    /// An update names another client.
    #[error("client_id differs from the client's")]
    ClientId,
    /// An update names another secret; a client cannot choose its own.
    #[error("client_secret differs from the client's")]
    ClientSecret,
    /// A person authorized it, so it does not expire.
    #[error("the client is in use")]
    InUse,
    /// It registered too recently to expire.
    #[error("the client registered too recently")]
    TooRecent,
}

impl Rule {
    /// The stable word for it in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RegistrationToken => "registration_token_mismatch",
            Self::Unknown => "unknown_client",
            Self::ClientId => "client_id_mismatch",
            Self::ClientSecret => "client_secret_mismatch",
            Self::Exists | Self::InUse | Self::TooRecent => "client_state",
        }
    }
}

/// A client as its stream tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Client {
    /// Never registered.
    #[default]
    Absent,
    /// Known. Whoever authenticates it shares the registration.
    Registered(Arc<Registration>),
    /// Taken away, by itself or an operator; as it was then.
    Removed(Arc<Registration>),
    /// Taken away because it was never used; as it was then.
    Expired(Arc<Registration>),
}

/// A known client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its id.
    pub client_id: ClientId,
    /// Where it registered.
    pub proxy_id: ProxyId,
    /// What it says about itself.
    pub metadata: ClientMetadata,
    /// Its secret; none for a public client.
    pub secret: Option<KeptSecret>,
    /// Hash of the token that manages the registration.
    pub registration_token: SecretHash,
    /// When it registered.
    pub registered_at: Timestamp,
    /// When a person first authorized it, if one did.
    pub first_authorized_at: Option<Timestamp>,
}

impl Client {
    /// The registration, while there is one.
    #[must_use]
    pub fn registration(&self) -> Option<&Arc<Registration>> {
        match self {
            Self::Registered(registration) => Some(registration),
            Self::Absent | Self::Removed(_) | Self::Expired(_) => None,
        }
    }

    /// The registration, for who presents its registration token (RFC 7592 §2.1).
    ///
    /// # Errors
    /// There is no registration, or the token is not its current one.
    pub fn managed_by(&self, registration_token: &SecretHash) -> Result<&Arc<Registration>, Rule> {
        let registration = self.registration().ok_or(Rule::Unknown)?;
        if registration.registration_token == *registration_token {
            Ok(registration)
        } else {
            Err(Rule::RegistrationToken)
        }
    }

    fn update(&self, update: Update) -> Result<Vec<Event>, Rule> {
        let current = self.managed_by(&update.registration_token)?;
        let named = &update.named;
        let client_id = current.client_id.to_string();
        if named.client_id.as_ref().is_some_and(|id| *id != client_id) {
            return Err(Rule::ClientId);
        }
        let secret = current.secret.map(|secret| secret.hash);
        if named.secret.is_some() && named.secret != secret {
            return Err(Rule::ClientSecret);
        }
        let needs_secret = !update.metadata.is_public() && current.secret.is_none();
        Ok(vec![Event::Updated(Box::new(Updated {
            metadata: update.metadata,
            secret: needs_secret.then_some(update.secret),
            registration_token: update.next_registration_token,
        }))])
    }

    fn remove(&self, remover: Remover) -> Result<Vec<Event>, Rule> {
        let by = match remover {
            Remover::Client { registration_token } => {
                self.managed_by(&registration_token)?;
                None
            }
            Remover::Operator(operator) => {
                self.registration().ok_or(Rule::Unknown)?;
                Some(operator)
            }
        };
        Ok(vec![Event::Removed(Removed { by })])
    }

    fn expire(&self, registered_before: Timestamp) -> Result<Vec<Event>, Rule> {
        let registration = self.registration().ok_or(Rule::Unknown)?;
        if registration.first_authorized_at.is_some() {
            return Err(Rule::InUse);
        }
        if registration.registered_at >= registered_before {
            return Err(Rule::TooRecent);
        }
        Ok(vec![Event::Expired(Expired {})])
    }
}

impl Aggregate for Client {
    type Command = Command;
    type Event = Event;
    type Rule = Rule;

    fn decide(&self, command: Command, _: Timestamp) -> Result<Vec<Event>, Refusal<Rule, Event>> {
        match command {
            Command::Register(register) => match self {
                Self::Absent => Ok(vec![Event::Registered(Box::new((*register).into()))]),
                Self::Registered(_) | Self::Removed(_) | Self::Expired(_) => {
                    Err(Rule::Exists.into())
                }
            },
            Command::Update(update) => Ok(self.update(*update)?),
            Command::Remove(remover) => Ok(self.remove(remover)?),
            Command::RecordFirstAuthorization => {
                let registration = self.registration().ok_or(Rule::Unknown)?;
                Ok(if registration.first_authorized_at.is_some() {
                    Vec::new()
                } else {
                    vec![Event::FirstAuthorized(FirstAuthorized {})]
                })
            }
            Command::Expire { registered_before } => Ok(self.expire(registered_before)?),
        }
    }

    fn evolve(self, fact: Fact<'_, Event>) -> Self {
        match (self, fact.event) {
            (Self::Absent, Event::Registered(registered)) => {
                Self::Registered(Arc::new(Registration {
                    client_id: registered.client_id,
                    proxy_id: registered.proxy_id,
                    metadata: registered.metadata.clone(),
                    secret: registered.secret,
                    registration_token: registered.registration_token,
                    registered_at: fact.at,
                    first_authorized_at: None,
                }))
            }
            (Self::Registered(mut known), Event::Updated(updated)) => {
                let registration = Arc::make_mut(&mut known);
                registration.secret = if updated.metadata.is_public() {
                    None
                } else {
                    updated.secret.or(registration.secret)
                };
                registration.metadata = updated.metadata.clone();
                registration.registration_token = updated.registration_token;
                Self::Registered(known)
            }
            (Self::Registered(mut known), Event::FirstAuthorized(_)) => {
                let registration = Arc::make_mut(&mut known);
                registration.first_authorized_at.get_or_insert(fact.at);
                Self::Registered(known)
            }
            (Self::Registered(registration), Event::Removed(_)) => Self::Removed(registration),
            (Self::Registered(registration), Event::Expired(_)) => Self::Expired(registration),
            (
                state,
                Event::Registered(_)
                | Event::Updated(_)
                | Event::FirstAuthorized(_)
                | Event::Removed(_)
                | Event::Expired(_),
            ) => state,
        }
    }

    fn correlation(&self) -> Correlation {
        match self {
            Self::Absent => Correlation::default(),
            Self::Registered(known) | Self::Removed(known) | Self::Expired(known) => Correlation {
                proxy_id: Some(known.proxy_id),
                client_id: Some(known.client_id),
                subject: None,
            },
        }
    }
}

impl From<Register> for Registered {
    fn from(command: Register) -> Self {
        let secret = (!command.metadata.is_public()).then_some(command.secret);
        Self {
            client_id: command.client_id,
            proxy_id: command.proxy_id,
            metadata: command.metadata,
            secret,
            registration_token: command.registration_token,
        }
    }
}
