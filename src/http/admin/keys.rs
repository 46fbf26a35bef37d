//! Signing keys: which there are, and their rotation. The keys themselves never leave the vault.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::Timestamp;
use domain::key::Algorithm;
use projections::Listed;
use serde::Serialize;

use super::Admin;
use super::authentication::{MayConfigure, MayRead};
use super::document::{Document, refuse_unknown, required};
use super::list::{Query, place};
use super::problem::Problem;
use crate::keys::KeyInfo;
use crate::vault::Rotation;

/// A signing key without the key.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Key {
    /// Its name in token headers and key sets.
    kid: String,
    /// What it signs with.
    #[schema(value_type = String)]
    alg: Algorithm,
    /// When it was made.
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// From when on it signs.
    #[schema(value_type = String)]
    not_before: Timestamp,
    /// From when on its tokens are refused; absent while none has taken its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    retires_at: Option<Timestamp>,
    /// Whether it signs now.
    in_use: bool,
}

impl Listed for Key {
    const COLUMNS: &'static [&'static str] = &[
        "kid",
        "alg",
        "created_at",
        "not_before",
        "retires_at",
        "in_use",
    ];
}

impl Key {
    fn new(info: &KeyInfo, in_use: bool) -> Self {
        Self {
            kid: info.kid.clone(),
            alg: info.alg,
            created_at: info.created_at,
            not_before: info.not_before,
            retires_at: info.retires_at,
            in_use,
        }
    }
}

/// Lists signing keys, retired ones included.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    tag = "administration",
    responses((status = 200, description = "A page of signing keys"))
)]
pub async fn list(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    query: Query,
) -> Result<Response, Problem> {
    let paging = query.paging("keys")?;
    let head = admin.caught_up(paging.min_position).await?;
    let now = operator.context.now;
    let keys = admin.shared.app.vault.signing_keys();
    let rows = keys
        .infos()
        .map(|info| {
            let in_use = keys
                .in_use(info.alg, now)
                .is_some_and(|key| key.info.kid == info.kid);
            let place = place(info.created_at, info.kid.as_bytes());
            (place, Key::new(info, in_use))
        })
        .collect();
    let page = paging.page(rows, admin.shared.app.log.head().checked_sub(1));
    admin.record_read(&operator, "/api/v1/keys", &query).await?;
    query.answer(&page, head)
}

/// As long as caches may keep our key sets; nobody else reads HS256 tokens.
const PUBLISH_AHEAD: Duration = Duration::from_secs(60);
/// The longest life an access token can have.
const KEEP_OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// A key that signs has to be on record, with who made it; failing that for so long, the next look at the keys does it.
const RECORD_AGAIN: Duration = Duration::from_millis(500);
const RECORD_AGAIN_MAX: u32 = 20;

/// Makes a successor to the signing key of an algorithm. Published keys sign a minute later, when
/// caches know them; tokens of the old one stay valid until they end.
#[utoipa::path(
    post,
    path = "/api/v1/keys/rotate",
    tag = "administration",
    request_body(content = Object, description = "`{\"alg\"}`: HS256, ES256, EdDSA or RS256"),
    responses((status = 201, description = "The new key", body = Key))
)]
pub async fn rotate(
    MayConfigure(operator): MayConfigure,
    State(admin): State<Admin>,
    Document(members): Document,
) -> Result<Response, Problem> {
    refuse_unknown(&members, &["alg"])?;
    let alg: Algorithm = required(&members, "alg", "HS256, ES256, EdDSA or RS256")?;
    let rotation = Rotation {
        publish_ahead: match alg {
            Algorithm::HS256 => Duration::ZERO,
            Algorithm::ES256 | Algorithm::EdDSA | Algorithm::RS256 => PUBLISH_AHEAD,
        },
        keep_old: KEEP_OLD,
    };
    let (shared, context) = (admin.shared.clone(), operator.context);
    let now = context.now;
    let rotating = async move {
        let app = &shared.app;
        let kid = app.vault.rotate_signing_key(alg, rotation, now).await?;
        let mut recorded = app.record_signing_keys(&context).await;
        for _ in 0..RECORD_AGAIN_MAX {
            if recorded.is_ok() {
                break;
            }
            tokio::time::sleep(RECORD_AGAIN).await;
            recorded = app.record_signing_keys(&context).await;
        }
        recorded.map(|()| kid)
    };
    let kid = admin.shared.to_the_end(rotating).await??;
    let after = admin.shared.app.vault.signing_keys();
    let key = after
        .infos()
        .find(|info| info.kid == kid)
        .map(|info| Key::new(info, info.not_before <= now));
    Ok((StatusCode::CREATED, Json(key)).into_response())
}
