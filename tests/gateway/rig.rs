//! A gateway with stores of its own, and shortcuts to what people and operators would do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use chrono::TimeDelta;
use domain::entry::Entry;
use domain::event::Event;
use domain::grant::{self, Grant, RefreshSalt, RevocationReason, TokenPolicy};
use domain::id::{ApiKeyId, ClientId, EventId, GrantId, OperatorId, ProviderId, ProxyId};
use domain::key::Algorithm;
use domain::provider::{self, Provider};
use domain::proxy::{self, Proxy, UpstreamAuth};
use domain::secret::SecretHash;
use domain::{Timestamp, api_key, audit};
use grantlog::administration::PrivateTerms;
use grantlog::app::{App, Context};
use grantlog::config::{Config, Sources};
use grantlog::federation::Federation;
use grantlog::http::{Callbacks, Limits, Parts, ProviderTokens, Rates, Shared, Urls};
use grantlog::log::{Log, Options};
use grantlog::secret::Secret;
use grantlog::tokens::access::{self, Claims};
use grantlog::tokens::secret::ApiKey;
use grantlog::vault::{Identity, MasterKeys, UpstreamTokens, Vault};
use grantlog::{clock, gateway};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fake_provider::CLIENT_SECRET;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The largest request the rig's gateway forwards.
pub const BODY_BYTES_MAX: usize = 100_000;

/// How long a provider may take; longer than a failure is everybody's answer.
pub const PROVIDER_DEADLINE: Duration = Duration::from_secs(3);

pub struct Rig {
    pub shared: Shared,
    /// The gateway's origin.
    pub url: String,
    pub http: reqwest::Client,
    /// Where the stores are.
    pub folder: TempDir,
}

/// A grant with the first access token that was issued under it.
pub struct Granted {
    pub id: GrantId,
    pub claims: Claims,
    pub token: String,
}

impl Rig {
    /// A gateway whose proxy 1 stands in front of `upstream`.
    pub async fn new(upstream: &str) -> Self {
        Self::with(upstream, |_| {}).await
    }

    /// The same with other settings of proxy 1.
    pub async fn with(upstream: &str, change: impl FnOnce(&mut proxy::Settings)) -> Self {
        let folder = TempDir::new().expect("a folder");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared: Shared = parts(folder.path(), &url).into();
        serve(listener, gateway::routes(shared.clone()));
        let rig = Self {
            shared,
            url,
            http: client(),
            folder,
        };
        let settings = serde_json::from_value(serde_json::json!({
            "name": "nobody", "type": "oidc", "client_id": "us", "issuer": "http://127.0.0.1:9/",
            "scopes": "openid read write",
        }));
        rig.add_provider(settings.expect("settings")).await;
        rig.add_proxy(1, upstream, change, None).await;
        rig
    }

    pub fn app(&self) -> &Arc<App> {
        &self.shared.app
    }

    /// A path at the gateway.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub async fn add_provider(&self, settings: provider::Settings) -> ProviderId {
        let id = self.app().directory.next_provider();
        let owner = format!("provider-{id}");
        let secret = self
            .app()
            .vault
            .put_secret(&owner, CLIENT_SECRET.as_bytes(), clock::now());
        let command = provider::Command::Add {
            settings,
            secret_version: secret.await.expect("the vault stores"),
        };
        let added = self.app().execute::<Provider>(id, command, &system()).await;
        assert!(added.is_ok(), "the provider is refused");
        id
    }

    pub async fn add_proxy(
        &self,
        id: u32,
        upstream: &str,
        change: impl FnOnce(&mut proxy::Settings),
        private: Option<PrivateTerms>,
    ) {
        let mut settings = settings(upstream);
        change(&mut settings);
        let private_version = match private {
            None => None,
            Some(terms) => {
                let bytes = serde_json::to_vec(&terms).expect("JSON");
                let owner = format!("proxy-{id}");
                let put = self.app().vault.put_secret(&owner, &bytes, clock::now());
                Some(put.await.expect("the vault stores"))
            }
        };
        let command = proxy::Command::Add {
            settings: Box::new(settings),
            private_version,
            provider_is_known: true,
        };
        let added = self
            .app()
            .execute::<Proxy>(ProxyId(id), command, &system())
            .await;
        assert!(added.is_ok(), "the proxy is refused");
    }

    /// A person logged in for `scope` at proxy 1's own resource, and the code was redeemed.
    pub async fn grant(&self, scope: &str) -> Granted {
        self.grant_with(scope, ProviderId(1), &tokens(None, None))
            .await
    }

    /// The same, with what the provider gave.
    pub async fn grant_with(
        &self,
        scope: &str,
        provider_id: ProviderId,
        tokens: &UpstreamTokens,
    ) -> Granted {
        let (now, id) = (clock::now(), GrantId(clock::event_id().0));
        let sub = id.to_string();
        let identity = Identity {
            provider: provider_id,
            issuer: "nobody",
            sub: &sub,
        };
        let subject = self
            .app()
            .vault
            .record_login(identity, id, tokens, now)
            .await;
        let subject = subject.expect("the vault stores");
        let client = ClientId(clock::event_id().0);
        let code = SecretHash::of("the code");
        let request = grant::Requested {
            proxy_id: ProxyId(1),
            client_id: client,
            provider_id,
            redirect_uri: "http://127.0.0.1/callback".parse().expect("a redirect URI"),
            scope: scope.parse().expect("a scope"),
            resource: self.shared.urls.resource(ProxyId(1)),
            requested_at: now,
        };
        self.command(
            id,
            grant::Command::Authorize(Box::new(grant::Authorize {
                request,
                subject,
                consent: grant::Consent::NotRequired,
                code,
                code_lifetime: TimeDelta::seconds(60),
                code_challenge: CHALLENGE.parse().expect("a challenge"),
                grant_lifetime: TimeDelta::days(1),
            })),
        )
        .await;
        let jti = self
            .command(
                id,
                grant::Command::RedeemCode(grant::RedeemCode {
                    client_id: client,
                    proxy_id: ProxyId(1),
                    code,
                    redirect_uri: Some("http://127.0.0.1/callback".to_owned()),
                    code_verifier: Some(VERIFIER.to_owned()),
                    resource: None,
                    refresh_salt: Some(RefreshSalt([7; 16])),
                    policy: TokenPolicy {
                        access_token: TimeDelta::hours(1),
                        refresh_token: TimeDelta::days(1),
                        refresh_retry: TimeDelta::minutes(10),
                    },
                }),
            )
            .await;
        let claims = Claims {
            iss: self.shared.urls.issuer(ProxyId(1)),
            sub: subject,
            aud: self.shared.urls.mcp(ProxyId(1)),
            client_id: client,
            scope: scope.parse().expect("a scope"),
            iat: now.timestamp(),
            exp: now.timestamp() + 3600,
            jti,
            grant: id,
        };
        let token = self.mint(&claims);
        Granted { id, claims, token }
    }

    /// Executes a command of a grant; the id of the last event.
    async fn command(&self, id: GrantId, command: grant::Command) -> EventId {
        let executed = self.app().execute::<Grant>(id, command, &system()).await;
        let Ok(executed) = executed else {
            panic!("the command is refused");
        };
        executed.events.last().expect("an event").0
    }

    pub async fn revoke(&self, id: GrantId) {
        let reason = RevocationReason::Operator {
            note: "a test".to_owned(),
        };
        self.command(id, grant::Command::Revoke { reason }).await;
    }

    pub fn mint(&self, claims: &Claims) -> String {
        let keys = self.app().vault.signing_keys();
        let minted = access::mint(&keys, Algorithm::HS256, claims, clock::now());
        minted.expect("a key")
    }

    pub async fn api_key(&self, proxy: u32, scopes: &str, expires_at: Option<Timestamp>) -> Secret {
        let id = ApiKeyId(Uuid::from_bytes(clock::random()));
        let key = ApiKey::generate(id);
        let command = api_key::Command::Issue(api_key::Issued {
            name: "a script".to_owned(),
            proxy_id: ProxyId(proxy),
            scopes: scopes.parse().expect("a scope"),
            expires_at,
            key: key.hash(),
            by: OperatorId(Uuid::nil()),
        });
        let issued = self
            .app()
            .execute::<api_key::ApiKey>(id, command, &system())
            .await;
        assert!(issued.is_ok(), "the key is refused");
        key
    }

    /// Every event in the log.
    pub fn events(&self) -> Vec<Event> {
        let stored = self
            .app()
            .log
            .read_after_blocking(0, 10_000)
            .expect("the log is read");
        let decode = |entry: &[u8]| Entry::decode(entry).expect("it decodes").event;
        stored.iter().map(|stored| decode(&stored.entry)).collect()
    }

    /// How many events in the log are of this type.
    pub fn count(&self, name: &str) -> usize {
        self.events()
            .iter()
            .filter(|event| event.name() == name)
            .count()
    }

    /// The causes of refusals with their counts, once all of them are recorded. Only once a test.
    pub async fn refusals(&self) -> BTreeMap<String, u64> {
        grantlog::app::record_refusals(self.app().clone(), async {}).await;
        let mut causes = BTreeMap::new();
        for event in self.events() {
            if let Event::Audit(audit::Event::RequestRefused(refused)) = event {
                assert_eq!(refused.endpoint, "gateway");
                *causes.entry(refused.cause).or_default() += refused.count;
            }
        }
        causes
    }

    /// Waits for everything that was begun and that nobody waits for.
    pub async fn settled(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.tasks.reopen();
    }

    /// `tools/list` with a token.
    pub async fn call(&self, token: &str) -> reqwest::Response {
        self.post("/mcp", token).send().await.expect("an answer")
    }

    /// A POST to `path` with a token.
    pub fn post(&self, path: &str, token: &str) -> reqwest::RequestBuilder {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        self.http
            .post(self.at(path))
            .bearer_auth(token)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body)
    }
}

/// Serves a router until the test ends.
pub fn serve(listener: TcpListener, router: Router) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") });
}

pub fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy();
    let client = client.redirect(reqwest::redirect::Policy::none()).build();
    client.expect("a client")
}

pub fn system() -> Context {
    Context::system(clock::now())
}

/// What a provider gave: an access token, and what renews it.
pub fn tokens(refresh_token: Option<&str>, expires_at: Option<Timestamp>) -> UpstreamTokens {
    UpstreamTokens {
        access_token: Secret::new("provider-token"),
        refresh_token: refresh_token.map(Secret::new),
        expires_at,
        refresh_expires_at: None,
        origin: None,
    }
}

fn settings(upstream: &str) -> proxy::Settings {
    proxy::Settings {
        name: "Upstream".to_owned(),
        upstream_url: upstream.parse().expect("a URL"),
        enabled: true,
        provider_id: ProviderId(1),
        allowed_redirects: Default::default(),
        require_consent: false,
        scopes: Some("read write offline_access".parse().expect("a scope")),
        default_scopes: Some("read".parse().expect("a scope")),
        required_scopes: Default::default(),
        access_token_s: 3600,
        refresh_token_s: 86_400,
        grant_s: 86_400,
        refresh_retry_s: 600,
        token_alg: Algorithm::HS256,
        upstream_auth: UpstreamAuth::None,
    }
}

fn parts(folder: &Path, gateway_url: &str) -> Parts {
    let log = Log::open(folder, Options { migrate: true }).expect("the log opens");
    let master_keys = MasterKeys::in_data_folder(folder).expect("a key");
    let vault = Vault::open(&folder.join("vault.db"), master_keys, true, clock::now());
    let vault = vault.expect("the vault opens");
    let read_model = folder.join("read.db");
    projections::ReadModel::open(&read_model).expect("the read model opens");
    let (flags, environment) = (BTreeMap::new(), BTreeMap::new());
    let config = Config::resolve(Sources {
        flags: &flags,
        environment: &environment,
        file: None,
        read: &|_| Err(std::io::Error::other("no files here")),
    });
    Parts {
        app: Arc::new(App::new(log, vault)),
        federation: Federation::with_deadline(PROVIDER_DEADLINE).expect("TLS"),
        urls: Urls {
            server: "https://auth.example".to_owned(),
            gateway: gateway_url.to_owned(),
        },
        rates: Rates::new(Limits {
            registrations_per_minute: 0,
            authorizations_per_minute: 0,
            tokens_per_minute: 0,
        }),
        trusted_proxies: Vec::new(),
        gateway: config.expect("the defaults").gateway,
        mcp_body_bytes: BODY_BYTES_MAX as u64,
        unused_client: None,
        reader: projections::Reader::open(&read_model).expect("the read model opens"),
        provider_tokens: ProviderTokens::default(),
        callbacks: Callbacks::default(),
        stopping: CancellationToken::new(),
        tasks: Default::default(),
    }
}
