//! One event of each type, as real as it can be, with everything in it that it can hold.

use chrono::DateTime;
use domain::Timestamp;
use domain::client::metadata::{AuthMethod, ClientMetadata, GrantType};
use domain::entry::{Actor, Envelope};
use domain::event::{Correlation, Event};
use domain::id::{
    ApiKeyId, ClientId, EventId, GrantId, OperatorId, ProviderId, ProxyId, SubjectId,
};
use domain::key::Algorithm;
use domain::redirect_uri::AllowedRedirects;
use domain::scope::Scope;
use domain::secret::SecretHash;
use domain::{api_key, audit, client, grant, key, operator, provider, proxy, subject};
use url::Url;
use uuid::{Uuid, uuid};

/// What commits an entry to its sealed part.
pub const COMMITMENT: &str = "4tKT2pIBVhIYRz3vZ1aYvYBVX9qVhXk6c7Kx1l5T3mE";

const CLIENT: ClientId = ClientId(uuid!("0192e4a0-b1c2-7d3e-8f40-5a6b7c8d9e0f"));
const GRANT: GrantId = GrantId(uuid!("0192e4a0-c9d0-7f3e-8b1a-5c2d3e4f5061"));
const SUBJECT: SubjectId = SubjectId(uuid!("3b241101-e2bb-4255-8caf-4136c566a962"));
const OPERATOR: OperatorId = OperatorId(uuid!("0192e4a0-0000-7abc-9def-0123456789ab"));
const API_KEY: ApiKeyId = ApiKeyId(uuid!("0192e4a0-0001-7abc-9def-0123456789ab"));
const SECRET_VERSION: Uuid = uuid!("0192e4a0-0002-7abc-9def-0123456789ab");
const PROXY: ProxyId = ProxyId(1);
const PROVIDER: ProviderId = ProviderId(1);

/// Every sample, with its envelope.
pub fn samples() -> Vec<(Envelope, Event)> {
    [
        configuration(),
        clients(),
        logins(),
        tokens(),
        ends(),
        operators(),
        others(),
    ]
    .concat()
}

/// An instant of the samples' day.
fn at(text: &str) -> Timestamp {
    let full = format!("2026-11-23T{text}Z");
    DateTime::parse_from_rfc3339(&full)
        .expect("an instant")
        .to_utc()
}

fn url(text: &str) -> Option<Url> {
    Some(text.parse().expect("a URL"))
}

fn scope(text: &str) -> Scope {
    text.parse().expect("scope tokens")
}

fn sample(
    stream: String,
    version: u64,
    actor: Actor,
    correlation: Correlation,
    event: impl Into<Event>,
) -> (Envelope, Event) {
    let envelope = Envelope {
        id: EventId(uuid!("0192e4a1-7c3e-7b1d-9a52-8f0e6d5c4b3a")),
        stream,
        version,
        recorded_at: at("08:16:56.104211"),
        actor,
        correlation,
        request_id: Some(uuid!("0192e4a1-7c3d-7000-8000-0123456789ab")),
    };
    (envelope, event.into())
}

fn configuration() -> Vec<(Envelope, Event)> {
    let by_operator = |stream: &str, version, event: Event| {
        let (actor, correlation) = (Actor::Operator(OPERATOR), Correlation::default());
        sample(stream.to_owned(), version, actor, correlation, event)
    };
    let provider = Box::new(provider_configured());
    let proxy = Box::new(proxy_configured());
    vec![
        by_operator(
            "provider-1",
            0,
            provider::Event::Added(provider.clone()).into(),
        ),
        by_operator("provider-1", 1, provider::Event::Changed(provider).into()),
        by_operator(
            "provider-1",
            2,
            provider::Event::Removed(provider::Removed {}).into(),
        ),
        by_operator("proxy-1", 0, proxy::Event::Added(proxy.clone()).into()),
        by_operator("proxy-1", 1, proxy::Event::Changed(proxy).into()),
        by_operator(
            "proxy-1",
            2,
            proxy::Event::Removed(proxy::Removed {}).into(),
        ),
    ]
}

fn provider_configured() -> provider::Configured {
    provider::Configured {
        settings: provider::Settings {
            name: "Example ID".to_owned(),
            kind: provider::Kind::Oidc,
            client_id: "grantlog".to_owned(),
            issuer: url("https://id.example/"),
            authorization_url: url("https://id.example/authorize"),
            token_url: url("https://id.example/token"),
            userinfo_url: url("https://id.example/userinfo"),
            jwks_url: url("https://id.example/jwks"),
            scopes: scope("openid email"),
        },
        secret_version: SECRET_VERSION,
    }
}

fn proxy_configured() -> proxy::Configured {
    proxy::Configured {
        settings: proxy::Settings {
            name: "Files".to_owned(),
            upstream_url: "http://127.0.0.1:3000/mcp".parse().expect("a URL"),
            enabled: true,
            provider_id: PROVIDER,
            allowed_redirects: AllowedRedirects::new(["http://localhost:*", "cursor://*"]),
            require_consent: true,
            scopes: Some(scope("read write")),
            default_scopes: Some(scope("read")),
            required_scopes: scope("read"),
            access_token_s: 3600,
            refresh_token_s: 2_592_000,
            grant_s: 31_536_000,
            refresh_retry_s: 600,
            token_alg: Algorithm::HS256,
            upstream_auth: proxy::UpstreamAuth::ProviderToken,
        },
        private_version: Some(SECRET_VERSION),
    }
}

fn clients() -> Vec<(Envelope, Event)> {
    use client::{Event as E, Expired, FirstAuthorized, KeptSecret, Registered, Removed, Updated};
    let about = Correlation {
        proxy_id: Some(PROXY),
        client_id: Some(CLIENT),
        subject: None,
    };
    let sample =
        |version, actor, event: E| sample(format!("client-{CLIENT}"), version, actor, about, event);
    let secret = Some(KeptSecret {
        hash: SecretHash::of("a client secret"),
        expires_at: Some(at("23:00:00")),
    });
    let registration_token = SecretHash::of("a registration token");
    let registered = Registered {
        client_id: CLIENT,
        proxy_id: PROXY,
        metadata: client_metadata(),
        secret,
        registration_token,
    };
    let updated = Updated {
        metadata: client_metadata(),
        secret,
        registration_token,
    };
    vec![
        sample(0, Actor::Anonymous, E::Registered(Box::new(registered))),
        sample(1, Actor::Client(CLIENT), E::Updated(Box::new(updated))),
        sample(
            2,
            Actor::Subject(SUBJECT),
            E::FirstAuthorized(FirstAuthorized {}),
        ),
        sample(
            3,
            Actor::Operator(OPERATOR),
            E::Removed(Removed { by: Some(OPERATOR) }),
        ),
        sample(2, Actor::System, E::Expired(Expired {})),
    ]
}

fn client_metadata() -> ClientMetadata {
    let text = |text: &str| Some(text.to_owned());
    ClientMetadata {
        redirect_uris: vec![
            "http://localhost:8976/callback"
                .parse()
                .expect("a redirect URI"),
        ],
        token_endpoint_auth_method: Some(AuthMethod::ClientSecretPost),
        grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        client_name: text("Example \"MCP\" client é"),
        client_uri: text("https://client.example/"),
        logo_uri: text("https://client.example/logo.png"),
        tos_uri: text("https://client.example/tos"),
        policy_uri: text("https://client.example/policy"),
        scope: scope("read write"),
        software_id: text("example-mcp"),
        software_version: text("1.2.3"),
        application_type: text("native"),
    }
}

fn of_grant(version: u64, actor: Actor, event: grant::Event) -> (Envelope, Event) {
    let about = Correlation {
        proxy_id: Some(PROXY),
        client_id: Some(CLIENT),
        subject: Some(SUBJECT),
    };
    sample(grant::stream(GRANT), version, actor, about, event)
}

fn requested() -> grant::Requested {
    grant::Requested {
        proxy_id: PROXY,
        client_id: CLIENT,
        provider_id: PROVIDER,
        redirect_uri: "http://localhost:8976/callback"
            .parse()
            .expect("a redirect URI"),
        scope: scope("read write"),
        resource: "http://127.0.0.1:9001/proxy/1/mcp"
            .parse()
            .expect("a resource"),
        requested_at: at("08:00:00.5"),
    }
}

fn logins() -> Vec<(Envelope, Event)> {
    use grant::{CodeIssued, Consent, ConsentDenied, Event as E, LoginFailed, LoginSucceeded};
    let succeeded = LoginSucceeded {
        request: requested(),
        subject: SUBJECT,
        consent: Consent::Given,
        expires_at: at("23:59:59"),
    };
    let failed = LoginFailed {
        request: requested(),
        reason: "id_token_wrong_nonce".to_owned(),
    };
    let issued = CodeIssued {
        code: SecretHash::of("a code"),
        code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
            .parse()
            .expect("RFC 7636"),
        expires_at: at("08:01:00"),
    };
    let denied = ConsentDenied {
        request: requested(),
    };
    vec![
        of_grant(0, Actor::Subject(SUBJECT), E::LoginSucceeded(succeeded)),
        of_grant(0, Actor::Anonymous, E::LoginFailed(failed)),
        of_grant(0, Actor::Anonymous, E::ConsentDenied(denied)),
        of_grant(1, Actor::Subject(SUBJECT), E::CodeIssued(issued)),
    ]
}

fn tokens() -> Vec<(Envelope, Event)> {
    use grant::{
        AccessTokenFirstUsed, CodeRedeemed, Event as E, RefreshSalt, RefreshTokenIssued,
        RefreshTokenRetried, RefreshTokenRotated, UpstreamTokenRefreshed,
    };
    let redeemed = CodeRedeemed {
        access_token_expires_at: at("09:00:02"),
        refresh_token: Some(RefreshTokenIssued {
            salt: RefreshSalt([0x5a; 16]),
            expires_at: at("22:00:00"),
        }),
        resource: None,
    };
    let rotated = RefreshTokenRotated {
        generation: 2,
        expires_at: at("22:30:00"),
        access_token_expires_at: at("10:00:02"),
        scope: Some(scope("read")),
        resource: None,
    };
    let retried = RefreshTokenRetried {
        generation: 2,
        access_token_expires_at: at("10:00:03.25"),
        scope: Some(scope("read")),
        resource: None,
    };
    let used = AccessTokenFirstUsed {
        jti: EventId(uuid!("0192e4a1-7c3e-7b1d-9a52-8f0e6d5c4b3a")),
    };
    let renewed = UpstreamTokenRefreshed {
        expires_at: Some(at("09:30:00")),
    };
    let by_client = |version, event| of_grant(version, Actor::Client(CLIENT), event);
    let short = || "http://127.0.0.1:9001/mcp".parse().ok();
    let (mut redeemed_for, mut rotated_for) = (redeemed.clone(), rotated.clone());
    let mut retried_for = retried.clone();
    redeemed_for.resource = short();
    rotated_for.resource = short();
    retried_for.resource = short();
    vec![
        by_client(2, E::CodeRedeemed(redeemed)),
        by_client(3, E::RefreshTokenRotated(rotated)),
        by_client(4, E::RefreshTokenRetried(retried)),
        by_client(5, E::AccessTokenFirstUsed(used)),
        of_grant(6, Actor::System, E::UpstreamTokenRefreshed(renewed)),
        by_client(2, E::CodeRedeemed(redeemed_for)),
        by_client(3, E::RefreshTokenRotated(rotated_for)),
        by_client(4, E::RefreshTokenRetried(retried_for)),
    ]
}

fn ends() -> Vec<(Envelope, Event)> {
    use grant::{CodeReplayed, Event as E, RefreshTokenReused, RevocationReason, Revoked};
    let reused = RefreshTokenReused {
        generation: 1,
        current_generation: 2,
        replaced_at: Some(at("08:12:44.104211")),
    };
    let revoked = Revoked {
        reason: RevocationReason::Operator {
            note: "stolen laptop".to_owned(),
        },
        access_tokens_expire_at: Some(at("10:00:03.25")),
    };
    vec![
        of_grant(3, Actor::Client(CLIENT), E::CodeReplayed(CodeReplayed {})),
        of_grant(7, Actor::Client(CLIENT), E::RefreshTokenReused(reused)),
        of_grant(8, Actor::Operator(OPERATOR), E::Revoked(revoked)),
    ]
}

fn operators() -> Vec<(Envelope, Event)> {
    use operator::{Added, Changed, Event as E, Removed, Role, TokenReplaced};
    let sample = |version, event: E| {
        let (actor, about) = (Actor::Operator(OPERATOR), Correlation::default());
        sample(format!("operator-{OPERATOR}"), version, actor, about, event)
    };
    let added = Added {
        name: "on call".to_owned(),
        role: Role::Responder,
        token: SecretHash::of("an operator token"),
    };
    let changed = Changed {
        name: "audit team".to_owned(),
        role: Role::Auditor,
    };
    let replaced = TokenReplaced {
        token: SecretHash::of("another operator token"),
    };
    vec![
        sample(0, E::Added(added)),
        sample(1, E::Changed(changed)),
        sample(2, E::TokenReplaced(replaced)),
        sample(3, E::Removed(Removed {})),
    ]
}

fn others() -> Vec<(Envelope, Event)> {
    let person = Correlation {
        subject: Some(SUBJECT),
        ..Correlation::default()
    };
    let seen = subject::Event::FirstSeen(subject::FirstSeen {
        subject: SUBJECT,
        provider_id: PROVIDER,
    });
    let stream = format!("subject-{SUBJECT}");
    [
        vec![sample(stream, 0, Actor::Subject(SUBJECT), person, seen)],
        api_keys(),
        facts(),
    ]
    .concat()
}

fn api_keys() -> Vec<(Envelope, Event)> {
    use api_key::{Event as E, Issued, Revoked};
    let sample = |version, event: E| {
        let about = Correlation {
            proxy_id: Some(PROXY),
            ..Correlation::default()
        };
        let stream = format!("api-key-{API_KEY}");
        sample(stream, version, Actor::Operator(OPERATOR), about, event)
    };
    let issued = Issued {
        name: "nightly job".to_owned(),
        proxy_id: PROXY,
        scopes: scope("read"),
        expires_at: Some(at("23:00:00")),
        key: SecretHash::of("an API key"),
        by: OPERATOR,
    };
    vec![
        sample(0, E::Issued(issued)),
        sample(1, E::Revoked(Revoked { by: OPERATOR })),
    ]
}

/// Facts that each have a stream of their own.
fn facts() -> Vec<(Envelope, Event)> {
    let sample = |kind: &str, actor, proxy_id, event: Event| {
        let about = Correlation {
            proxy_id,
            ..Correlation::default()
        };
        let stream = format!("{kind}-0192e4a17c3e7b1d9a528f0e6d5c4b3a");
        sample(stream, 0, actor, about, event)
    };
    let read = audit::Event::Read(audit::Read {
        route: "/api/v1/logins".to_owned(),
    });
    let refused = audit::Event::RequestRefused(audit::RequestRefused {
        endpoint: "token".to_owned(),
        cause: "unknown_client".to_owned(),
        count: 17,
        first_at: at("08:15:01"),
        last_at: at("08:15:59.999999"),
        redirect_uri: None,
    });
    let elsewhere = audit::Event::RequestRefused(audit::RequestRefused {
        endpoint: "authorization".to_owned(),
        cause: "redirect_uri_unregistered".to_owned(),
        count: 1,
        first_at: at("08:15:01"),
        last_at: at("08:15:01"),
        redirect_uri: Some("http://localhost:8976/oauth".to_owned()),
    });
    let kid = || "4f1d2c3b4a5968778695a4b3c2d1e0f1".to_owned();
    let created = key::Event::Created(key::Created {
        kid: kid(),
        alg: Algorithm::ES256,
    });
    let retired = key::Event::Retired(key::Retired { kid: kid() });
    vec![
        sample("audit", Actor::Operator(OPERATOR), None, read.into()),
        sample("refusals", Actor::System, Some(PROXY), refused.into()),
        sample("refusals", Actor::Anonymous, Some(PROXY), elsewhere.into()),
        sample("signing-key", Actor::System, None, created.into()),
        sample("signing-key", Actor::System, None, retired.into()),
    ]
}
