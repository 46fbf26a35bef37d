//! Which scopes there are where nobody configured any, and what is said where there are none.

use serde_json::{Value, json};
use support::{Answer, Browser, Params, Pkce, Proxy, Tokens, plain_http};

use crate::fake_provider::{CLIENT_ID, CLIENT_SECRET};
use crate::rig::Rig;

/// A proxy whose provider has no `scopes`, and with these members.
async fn proxy_of_a_silent_provider(rig: &Rig, config: Value) -> Proxy {
    let id = rig
        .server
        .add_provider(&json!({
            "name": "silent", "type": "oidc", "issuer": rig.provider.issuer(),
            "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
        }))
        .await;
    let mut members = config;
    members["oauth_proxy_provider_id"] = json!(id);
    members["oauth_proxy_require_consent"] = json!(false);
    let upstream = "http://127.0.0.1:9/mcp";
    rig.server.add_proxy(upstream, members).await
}

async fn challenge(proxy: &Proxy) -> String {
    let answer = proxy.list_tools("").await.expect(401);
    answer.header("www-authenticate").to_owned()
}

/// The token answer and the introspection of its access token.
async fn token_and_introspection(proxy: &Proxy, scope: Option<&str>) -> (Answer, Answer) {
    let client = proxy.register(support::confidential_client()).await;
    let pkce = Pkce::rfc7636();
    let plain: Params = client.authorization(&pkce);
    let asked = match scope {
        Some(scope) => plain.with("scope", scope),
        None => plain,
    };
    let page = client
        .authorize(&mut Browser::new(), &asked, support::ALICE)
        .await;
    let code = page.param("code").unwrap_or_else(|| panic!("{page:#?}"));
    let tokens = client.redeem(&code, &pkce).await.expect(200);
    let introspection = client.introspect(&Tokens::of(&tokens).access).await;
    (tokens, introspection.expect(200))
}

/// What the README configures: people are asked for these scopes, so clients are offered them.
#[tokio::test]
async fn a_proxy_offers_what_its_provider_is_asked_for_by_default() {
    let rig = Rig::start().await;
    let proxy = proxy_of_a_silent_provider(&rig, json!({})).await;
    assert_eq!(
        proxy.metadata().await["scopes_supported"],
        json!(["openid", "profile", "email"])
    );
    let challenge = challenge(&proxy).await;
    assert!(
        challenge.contains("scope=\"openid profile email\""),
        "{challenge}"
    );
    for (asked, granted) in [(None, "openid profile email"), (Some("openid"), "openid")] {
        let (tokens, introspection) = token_and_introspection(&proxy, asked).await;
        assert_eq!(tokens.json()["scope"], granted);
        assert_eq!(introspection.json()["scope"], granted);
    }
}

/// RFC 8414 §3.2 and RFC 6749 §3.3 know no empty set: the member is left out.
#[tokio::test]
async fn no_scopes_are_not_spoken_of() {
    let rig = Rig::start().await;
    let proxy = proxy_of_a_silent_provider(&rig, json!({"oauth_proxy_scopes": ""})).await;
    assert_eq!(proxy.metadata().await.get("scopes_supported"), None);
    let challenge = challenge(&proxy).await;
    assert!(!challenge.contains("scope="), "{challenge}");
    let (tokens, introspection) = token_and_introspection(&proxy, None).await;
    assert_eq!(tokens.json().get("scope"), None);
    assert_eq!(introspection.json()["active"], true);
    assert_eq!(introspection.json().get("scope"), None);
    let resource = proxy
        .mcp_url
        .replace("/proxy/", "/.well-known/oauth-protected-resource/proxy/");
    let sent = plain_http().get(resource).send().await.expect("an answer");
    let document = Answer::read(sent).await.expect(200).json();
    assert_eq!(document.get("scopes_supported"), None);
}
