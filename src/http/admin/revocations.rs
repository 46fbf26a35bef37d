//! Containment: ending a grant, or every live grant of a client, subject, provider or proxy.

use std::fmt;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::client::Client;
use domain::grant::{Grant, RevocationReason};
use domain::id::{ClientId, GrantId, ProviderId, ProxyId, SubjectId};
use domain::provider::Provider;
use domain::proxy::Proxy;
use projections::Of;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Admin;
use super::authentication::{Authenticated, MayRevoke};
use super::document::{Document, member, refuse_unknown, required};
use super::problem::Problem;
use crate::administration::Refused;

/// What was ended, or would be.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Revocation {
    /// Whether nothing was done.
    dry_run: bool,
    /// The grants, in the order they were given.
    #[schema(value_type = Vec<String>)]
    grants: Vec<GrantId>,
    counts: Counts,
}

/// How many they are.
#[derive(Serialize, utoipa::ToSchema)]
struct Counts {
    grants: usize,
}

enum Seed {
    Grant(GrantId),
    Of(Of),
}

/// As a query: what a dry run tells is a read like others.
impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(id) => write!(f, "grant={id}"),
            Self::Of(Of::Client(id)) => write!(f, "client={id}"),
            Self::Of(Of::Subject(id)) => write!(f, "subject={id}"),
            Self::Of(Of::Provider(id)) => write!(f, "provider={id}"),
            Self::Of(Of::Proxy(id)) => write!(f, "proxy={id}"),
        }
    }
}

const ROUTE: &str = "/api/v1/revocations";

const MEMBERS: [&str; 7] = [
    "grant", "client", "subject", "provider", "proxy", "reason", "dry_run",
];

/// Ends every live grant of what is named: exactly one of `grant`, `client`, `subject`,
/// `provider` and `proxy`. With `dry_run` it only says which.
#[utoipa::path(
    post,
    path = "/api/v1/revocations",
    tag = "investigation",
    request_body(
        content = Object,
        description = "`{\"grant\"|\"client\"|\"subject\"|\"provider\"|\"proxy\", \"reason\", \"dry_run\"?}`"
    ),
    responses((status = 200, description = "What was ended", body = Revocation))
)]
pub async fn revoke(
    MayRevoke(operator): MayRevoke,
    State(admin): State<Admin>,
    Document(members): Document,
) -> Result<Response, Problem> {
    refuse_unknown(&members, &MEMBERS)?;
    let seed = seed(&members)?;
    let note: String = required(&members, "reason", "why, in a sentence")?;
    let reason = RevocationReason::by_operator(&note).map_err(Refused::from)?;
    let dry_run = member(&members, "dry_run", "true or false")?.unwrap_or(false);
    let grants = grants(&admin, &operator, &seed).await?;
    if dry_run {
        admin.record(&operator, ROUTE, &seed.to_string()).await?;
    } else {
        let (shared, ended) = (admin.shared.clone(), grants.clone());
        let revoking = async move {
            let context = &operator.context;
            shared.app.revoke_each(ended, &reason, context).await
        };
        admin.shared.to_the_end(revoking).await??;
    }
    let revocation = Revocation {
        dry_run,
        counts: Counts {
            grants: grants.len(),
        },
        grants,
    };
    Ok(Json(revocation).into_response())
}

fn seed(members: &Map<String, Value>) -> Result<Seed, Problem> {
    let number = "a positive number";
    let seeds = [
        member::<GrantId>(members, "grant", "the id of a grant")?.map(Seed::Grant),
        member::<ClientId>(members, "client", "a client_id")?.map(|id| Seed::Of(Of::Client(id))),
        member::<SubjectId>(members, "subject", "the id of a subject")?
            .map(|id| Seed::Of(Of::Subject(id))),
        member::<ProviderId>(members, "provider", number)?.map(|id| Seed::Of(Of::Provider(id))),
        member::<ProxyId>(members, "proxy", number)?.map(|id| Seed::Of(Of::Proxy(id))),
    ];
    let mut named = seeds.into_iter().flatten();
    match (named.next(), named.next()) {
        (Some(seed), None) => Ok(seed),
        (_, _) => Err(Problem::bad_request(
            "missing_member",
            "expected exactly one of grant, client, subject, provider and proxy",
        )),
    }
}

/// The grants that are meant and have not ended. A single one must have been given, and needs no read model; whatever else has a
/// stream of its own must have been there.
async fn grants(
    admin: &Admin,
    operator: &Authenticated,
    seed: &Seed,
) -> Result<Vec<GrantId>, Problem> {
    let app = &admin.shared.app;
    match *seed {
        Seed::Grant(id) => {
            let state = app.fresh::<Grant>(id).await?;
            if state.authorization().is_none() {
                return Err(domain::grant::Rule::UnknownGrant.into());
            }
            let end = state.live_until();
            let is_live = end.is_some_and(|end| operator.context.now < end);
            Ok(is_live.then_some(id).into_iter().collect())
        }
        Seed::Of(of) => {
            match of {
                Of::Client(id) if *app.fresh::<Client>(id).await? == Client::Absent => {
                    return Err(domain::client::Rule::Unknown.into());
                }
                Of::Provider(id) if *app.fresh::<Provider>(id).await? == Provider::Absent => {
                    return Err(domain::provider::Rule::Unknown.into());
                }
                Of::Proxy(id) if *app.fresh::<Proxy>(id).await? == Proxy::Absent => {
                    return Err(domain::proxy::Rule::Unknown.into());
                }
                Of::Client(_) | Of::Provider(_) | Of::Proxy(_) | Of::Subject(_) => {}
            }
            app.read_model_is_current().await?;
            let now = operator.context.now;
            // Not in turn: whoever searches the record must not keep a responder waiting.
            let reader = admin.shared.reader.clone();
            let live = tokio::task::spawn_blocking(move || reader.live_grants_of(of, now)).await;
            let live = live.map_err(|error| Problem::read_model(&error))?;
            live.map_err(|error| Problem::read_model(&error))
        }
    }
}
