//! Three nodes, a provider that logs everybody in at once, and a proxy that all nodes know.

use std::time::{Duration, Instant};

use serde_json::json;
use support::postgres::Database;
use support::{Answer, Browser, Client, Nodes, Pkce, Proxy, Server, Setup, Tokens, plain_http};

use crate::fake_provider::FakeProvider;

/// How many nodes a test has that does not say otherwise.
pub const NODES: usize = 3;

/// Whatever is waited for comes sooner, or never.
pub const PATIENCE: Duration = Duration::from_secs(15);

pub struct Rig {
    pub nodes: Nodes,
    pub provider: FakeProvider,
    /// At the balancers' addresses.
    pub proxy: Proxy,
    /// Where log and vault are, if this rig took it.
    database: Option<Database>,
}

/// What a gateway says to an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Admitted,
    Refused,
    /// Neither, and when to ask again.
    Unavailable,
}

impl Rig {
    /// Nodes in a database of the shared server.
    pub async fn start() -> Self {
        let database = Database::create();
        let nodes = Nodes::start(NODES, &database.url()).await;
        let rig = Self::on(nodes).await;
        Self {
            database: Some(database),
            ..rig
        }
    }

    /// Adds provider and proxy, neither of which was there, at the first of these nodes.
    pub async fn on(nodes: Nodes) -> Self {
        let provider = FakeProvider::start().await;
        let id = nodes[0]
            .add_provider(&provider.document("openid email"))
            .await;
        let config = json!({
            "oauth_proxy_provider_id": id,
            "oauth_proxy_scopes": "read write",
            "oauth_proxy_require_consent": false,
        });
        // Nobody listens there: whatever a gateway admits ends in 502.
        let proxy = nodes[0].add_proxy("http://127.0.0.1:9/mcp", config).await;
        Self {
            nodes,
            provider,
            proxy,
            database: None,
        }
    }

    /// A node for each setup, in a database of the shared server; `setup` is given its URL.
    pub async fn with<T: IntoIterator<Item = Setup>>(setups: impl AsyncFnOnce(&str) -> T) -> Self {
        let database = Database::create();
        let nodes = Nodes::with(setups(&database.url()).await).await;
        let rig = Self::on(nodes).await;
        Self {
            database: Some(database),
            ..rig
        }
    }

    /// Where log and vault are.
    pub fn database(&self) -> &Database {
        self.database.as_ref().expect("this rig took one")
    }

    pub async fn client(&self) -> Client {
        self.proxy.register(support::public_client()).await
    }

    pub async fn confidential_client(&self) -> Client {
        self.proxy.register(support::confidential_client()).await
    }

    pub async fn code(&self, client: &Client) -> String {
        client
            .authorize_code(&mut Browser::new(), &Pkce::rfc7636())
            .await
    }

    pub async fn log_in(&self, client: &Client) -> Tokens {
        let code = self.code(client).await;
        Tokens::of(&client.redeem(&code, &Pkce::rfc7636()).await.expect(200))
    }

    /// The word of a node's gateway on an access token.
    pub async fn word(&self, node: usize, access_token: &str) -> Word {
        word(&self.proxy, &self.nodes[node], access_token).await
    }

    /// The word of every node's gateway.
    pub async fn words(&self, access_token: &str) -> Vec<Word> {
        let words = (0..self.nodes.count()).map(|node| self.word(node, access_token));
        futures_util::future::join_all(words).await
    }

    /// Waits until a node's gateway says so.
    pub async fn until_word(&self, node: usize, access_token: &str, expected: Word) {
        let what = format!("node {node} to say {expected:?}");
        until(&what, async || {
            self.word(node, access_token).await == expected
        })
        .await;
    }
}

/// The word of a node's gateway on an access token for a proxy.
pub async fn word(proxy: &Proxy, node: &Server, access_token: &str) -> Word {
    let answer = proxy.at(node).list_tools(access_token).await;
    match answer.status {
        502 => Word::Admitted,
        401 => Word::Refused,
        503 => {
            try_again_later(&answer);
            Word::Unavailable
        }
        _ => panic!("unexpected answer: {answer:#?}"),
    }
}

/// An answer that says when to ask again.
#[track_caller]
pub fn try_again_later(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:#?}");
    let seconds = answer.header("retry-after").parse::<u32>();
    assert!(
        seconds.is_ok_and(|seconds| (1..=60).contains(&seconds)),
        "{answer:#?}"
    );
}

/// Whether a node says that it is ready, as its balancer asks; it has to say so soon.
pub async fn is_ready(node: &Server) -> bool {
    let asked = Instant::now();
    let url = format!("{}/readyz", node.ops_url);
    let answer = plain_http().get(url).send().await.expect("an answer");
    assert!(asked.elapsed() < Duration::from_secs(3), "it hesitates");
    match answer.status().as_u16() {
        200 => true,
        503 => false,
        status => panic!("unexpected status {status}"),
    }
}

/// Looks again and again until it is so.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "waited in vain for {what}");
}
