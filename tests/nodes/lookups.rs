//! What a node would refuse because it does not know of it yet, it looks up first.
//!
//! Its network is held up, so that it certainly has not heard of what another node did.

use std::time::{Duration, Instant};

use serde_json::json;
use support::postgres::Cutter;
use support::{Answer, Browser, Client, Page, Pkce, Setup, Tokens, moved};

use crate::rig::{PATIENCE, Rig, Word};

/// Two nodes; what the second one hears can be held up.
async fn rig() -> (Rig, Cutter) {
    let mut network = None;
    let rig = Rig::with(async |url| {
        let cutter = network.insert(Cutter::before(url).await);
        [url, &cutter.url(url)].map(|url| Setup::default().database(url))
    });
    let rig = rig.await;
    (rig, network.expect("it was made"))
}

/// Asks a node that hears nothing, and lets it hear again once it has answered or turned out to wait.
/// Where the machine was so slow that the node has missed the database by then, it is asked again.
async fn unheard<T: Said>(network: &Cutter, ask: impl AsyncFn() -> T) -> T {
    const WAITS: Duration = Duration::from_millis(300);
    let mut asked = std::pin::pin!(ask());
    let answer = tokio::time::timeout(WAITS, &mut asked).await;
    network.mend();
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(_) => asked.await,
    };
    let began = Instant::now();
    while answer.is_put_off() {
        assert!(began.elapsed() < PATIENCE, "it does not come back");
        answer = ask().await;
    }
    answer
}

/// What a node said.
trait Said {
    /// Neither yes nor no.
    fn is_put_off(&self) -> bool;
}

impl Said for Answer {
    fn is_put_off(&self) -> bool {
        self.status == 503
    }
}

impl Said for Page {
    fn is_put_off(&self) -> bool {
        self.status == 503
    }
}

impl Said for Word {
    fn is_put_off(&self) -> bool {
        *self == Self::Unavailable
    }
}

/// A client that the second node knows.
async fn client(rig: &Rig) -> Client {
    let client = rig.confidential_client().await;
    let tokens = rig.log_in(&client).await;
    for node in rig.nodes.iter() {
        let said = client.at(node).introspect(&tokens.access).await;
        assert_eq!(said.json()["active"], true);
    }
    client
}

#[tokio::test]
async fn terms_that_were_just_changed_hold() {
    let (rig, network) = rig().await;
    let (first, second) = (&rig.nodes[0], &rig.nodes[1]);
    let client = client(&rig).await;
    let change = async |config| {
        network.silence();
        let change = json!({ "config": config });
        first.patch("/api/v1/proxies/1", &change).await.expect(200);
    };

    let mut metadata = support::public_client();
    metadata["redirect_uris"] = json!(["https://app.example/cb"]);
    change(json!({"oauth_proxy_allowed_redirects": ["https://app.example/cb"]})).await;
    let proxy = rig.proxy.at(second);
    let registered = unheard(&network, async || proxy.try_register(&metadata).await).await;
    registered.expect(201);

    let params = client.authorization(&Pkce::rfc7636()).with("scope", "more");
    let url = client.at(second).authorize_url(&params);
    let callback = format!("{}/api/v1/oauth/callback/1", rig.nodes.server.url);
    change(json!({"oauth_proxy_scopes": "read write more"})).await;
    let asked = unheard(&network, async || {
        Browser::new().open(&url, &callback).await
    });
    let asked = asked.await;
    assert!(asked.url.as_str().starts_with(&callback), "{asked:?}");
}

#[tokio::test]
async fn a_callback_finds_the_proxy_that_was_just_added() {
    let (rig, network) = rig().await;
    let (first, second) = (&rig.nodes[0], &rig.nodes[1]);
    let (mut browser, pkce) = (Browser::new(), Pkce::rfc7636());
    network.silence();
    let config = json!({"oauth_proxy_provider_id": 1, "oauth_proxy_require_consent": false});
    let proxy = first.add_proxy("http://127.0.0.1:9/mcp", config).await;
    let client = proxy.at(first).register(support::public_client()).await;
    let url = client.authorize_url(&client.authorization(&pkce));
    let callback = format!("{}/api/v1/oauth/callback/1", rig.nodes.server.url);
    let page = browser.open(&url, &callback).await;
    let url = moved(page.url.as_str(), &second.url);
    let answer = unheard(&network, async || {
        browser.clone().open(&url, &client.redirect_uri).await
    });
    let answer = answer.await;
    assert!(
        answer.url.as_str().starts_with(&client.redirect_uri),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_key_that_was_just_made_is_known() {
    let (rig, network) = rig().await;
    let (first, second) = (&rig.nodes[0], &rig.nodes[1]);
    let client = client(&rig).await;
    let tokens = [(); 3].map(|()| rig.log_in(&client));
    let [introspected, admitted, revoked] = futures_util::future::join_all(tokens)
        .await
        .try_into()
        .expect("three grants");
    let renewed = async |tokens: &Tokens| {
        network.silence();
        let rotate = json!({"alg": "HS256"});
        let rotated = first.post("/api/v1/keys/rotate", &rotate).await;
        rotated.expect(201);
        Tokens::of(&client.at(first).refresh(&tokens.refresh).await.expect(200))
    };

    let token = renewed(&introspected).await.access;
    let at_second = client.at(second);
    let said = unheard(&network, async || at_second.introspect(&token).await).await;
    assert_eq!(said.expect(200).json()["active"], true);

    let token = renewed(&admitted).await.access;
    let word = unheard(&network, async || rig.word(1, &token).await).await;
    assert_eq!(word, Word::Admitted);

    let token = renewed(&revoked).await.access;
    let said = unheard(&network, async || at_second.revoke(&token).await).await;
    said.expect(200);
    for node in 0..2 {
        rig.until_word(node, &token, Word::Refused).await;
    }
}

/// It is told so, and registers again, rather than being told that its grant has ended; and nobody is
/// sent to log in with it.
#[tokio::test]
async fn a_client_that_was_just_removed_is_unknown() {
    let (rig, network) = rig().await;
    let (first, second) = (&rig.nodes[0], &rig.nodes[1]);
    let (one, other) = (client(&rig).await, client(&rig).await);
    let tokens = rig.log_in(&one).await;
    let refreshed = one.at(second).refresh(&tokens.refresh).await.expect(200);
    let remove = async |client: &Client| {
        network.silence();
        let path = format!("/api/v1/clients/{}", client.id);
        first.delete(&path).await.expect(204);
    };

    remove(&one).await;
    let (at_second, newest) = (one.at(second), Tokens::of(&refreshed).refresh);
    let refused = unheard(&network, async || at_second.refresh(&newest).await).await;
    refused.expect_error(401, "invalid_client");

    remove(&other).await;
    let url = other.at(second);
    let url = url.authorize_url(&other.authorization(&Pkce::rfc7636()));
    let page = unheard(&network, async || {
        Browser::new().open(&url, &other.redirect_uri).await
    });
    let page = page.await;
    assert_eq!(page.status, 400, "{page:?}");
    assert!(page.body.contains("unauthorized_client"), "{page:?}");
}
