//! The whole way through consent and login, and what people do on it.

use std::net::TcpListener;

use serde_json::json;
use support::{Client, Pkce, Tokens, public_client};
use url::Url;

use crate::rig::{ALLOW, REFUSE, Rig, param, request};
use crate::tab::Tab;

/// What the client is told is for it and no more, and its code is good.
async fn is_good(client: &Client, answer: &Url, state: &str) {
    assert_eq!(param(answer, "state"), state);
    assert_eq!(param(answer, "iss"), client.proxy.issuer);
    assert_eq!(answer.query_pairs().count(), 3, "{answer}");
    let code = param(answer, "code");
    let redeemed = client.redeem(&code, &Pkce::rfc7636()).await;
    let tokens = Tokens::of(&redeemed.expect(200));
    assert_eq!(tokens.claims()["client_id"], json!(client.id));
}

/// The browser has nothing to say about the pages of the server.
async fn nobody_complains(rig: &Rig, tab: &Tab) {
    let mut complaints = tab.complaints().await;
    complaints.retain(|complaint| complaint.contains(&rig.server.url));
    assert!(complaints.is_empty(), "{complaints:#?}");
}

async fn comes_back(rig: &Rig, client: &Client, has_scripts: bool) {
    let mut tab = rig.chromium.stranger().await;
    let scripts = json!({ "value": !has_scripts });
    tab.call("Emulation.setScriptExecutionDisabled", scripts)
        .await;
    tab.open(&request(client, "a state")).await;
    tab.click(ALLOW).await;
    rig.log_in(&mut tab).await;
    let answer = tab.sent_to(&client.redirect_uri).await;
    nobody_complains(rig, &tab).await;
    is_good(client, &answer, "a state").await;
}

#[tokio::test]
async fn answers_reach_https_and_custom_schemes_with_and_without_scripts() {
    let rig = Rig::start().await;
    for redirect_uri in [
        "https://your-app.com/callback",
        "cursor://anysphere.cursor-mcp/oauth/callback",
    ] {
        let client = rig.client(redirect_uri).await;
        for has_scripts in [false, true] {
            comes_back(&rig, &client, has_scripts).await;
        }
    }
}

/// Our cookies are `__Host-` and `Secure`, which browsers keep over plain http only here.
#[tokio::test]
async fn answers_reach_a_port_on_127_0_0_1() {
    reaches_a_loopback_port("127.0.0.1").await;
}

#[tokio::test]
async fn answers_reach_a_port_on_localhost() {
    reaches_a_loopback_port("localhost").await;
}

async fn reaches_a_loopback_port(host: &str) {
    let rig = Rig::at(host).await;
    let client = rig.client(&rig.site.at(host, "/callback")).await;
    let mut tab = rig.chromium.tab().await;
    tab.open(&request(&client, "a state")).await;
    tab.click(ALLOW).await;
    rig.log_in(&mut tab).await;
    let shown = tab.loaded(&client.redirect_uri).await;
    nobody_complains(&rig, &tab).await;
    let received = rig.site.received();
    let [at_client] = received.as_slice() else {
        panic!(
            "the client was called {} times: {received:#?}",
            received.len()
        );
    };
    assert!(shown.as_str().ends_with(&at_client.target), "{shown}");
    assert!(!at_client.headers.contains_key("referer"), "{at_client:?}");
    // A cookie belongs to a host and goes to each of its ports.
    let cookies = at_client.headers.get("cookie");
    assert!(
        cookies.is_none_or(|cookies| !cookies.to_str().unwrap().contains("grantlog")),
        "{cookies:?}"
    );
    is_good(&client, &shown, "a state").await;
}

#[tokio::test]
async fn refused_consent_reaches_the_client_and_never_the_provider() {
    let rig = Rig::start().await;
    for redirect_uri in [
        rig.site.at("127.0.0.1", "/callback"),
        "cursor://anysphere.cursor-mcp/oauth/callback".to_owned(),
    ] {
        let client = rig.client(&redirect_uri).await;
        let mut tab = rig.chromium.tab().await;
        tab.open(&request(&client, "a state")).await;
        tab.click(REFUSE).await;
        let answer = tab.sent_to(&redirect_uri).await;
        assert_eq!(param(&answer, "error"), "access_denied");
        assert_eq!(param(&answer, "state"), "a state");
        assert_eq!(param(&answer, "iss"), client.proxy.issuer);
        assert_eq!(answer.query_pairs().count(), 4, "{answer}");
        nobody_complains(&rig, &tab).await;
        let mut requests = tab.requests();
        requests.retain(|request| request.url.starts_with(&rig.provider.issuer));
        assert!(requests.is_empty(), "{requests:#?}");
    }
    let denied = rig.server.list("/api/v1/logins?outcome=denied").await;
    assert_eq!(denied.len(), 2, "{denied:#?}");
}

#[tokio::test]
async fn two_tabs_finish_their_own_flows() {
    let rig = Rig::start().await;
    let mut flows = Vec::new();
    for name in ["one", "other"] {
        let redirect_uri = rig.site.at("localhost", &format!("/{name}"));
        let client = rig.client(&redirect_uri).await;
        let mut tab = rig.chromium.tab().await;
        tab.open(&request(&client, name)).await;
        flows.push((name, client, tab));
    }
    for (_, _, tab) in &mut flows {
        tab.click(ALLOW).await;
        tab.sent_to(&rig.provider.issuer).await;
    }
    let [one, other] = &mut flows[..] else {
        unreachable!()
    };
    rig.log_in(&mut other.2).await;
    rig.sign_in(&mut one.2).await;
    for (name, client, tab) in flows.iter_mut() {
        let answer = tab.loaded(&client.redirect_uri).await;
        is_good(client, &answer, name).await;
    }
}

/// People press again where nothing seems to happen, here because the provider is slow.
#[tokio::test]
async fn pressing_a_button_again_decides_the_same() {
    let rig = Rig::start().await;
    // Connections are made, and nobody answers.
    let slow = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let slow = format!("http://{}/", slow.local_addr().unwrap());
    let provider = json!({
        "name": "slow", "type": "oauth2", "client_id": "us", "client_secret": "a secret of ours",
        "authorization_url": slow, "token_url": slow, "userinfo_url": slow,
    });
    let provider_id = rig.server.add_provider(&provider).await;
    let config = json!({ "oauth_proxy_provider_id": provider_id });
    let proxy = rig.server.add_proxy("http://127.0.0.1:9/mcp", config).await;
    let mut metadata = public_client();
    metadata["redirect_uris"] = json!([format!("{slow}callback")]);
    let client = proxy.register(metadata).await;
    for (button, goes_to) in [(ALLOW, &slow), (REFUSE, &client.redirect_uri)] {
        let mut tab = rig.chromium.tab().await;
        tab.open(&request(&client, "a state")).await;
        let button = tab.middle(button).await;
        for _ in 0..2 {
            tab.click_at(&button).await;
            tab.sent_to(goes_to).await;
        }
    }
    let denied = rig.server.list("/api/v1/logins").await;
    assert_eq!(denied.len(), 1, "{denied:#?}");
}

#[tokio::test]
async fn going_back_or_reloading_harms_nothing() {
    let rig = Rig::start().await;
    let client = rig.client(&rig.site.at("127.0.0.1", "/callback")).await;
    let mut tab = rig.chromium.tab().await;
    tab.open(&request(&client, "a state")).await;
    let consent = tab.call("Page.getNavigationHistory", json!({})).await;
    tab.click(ALLOW).await;
    rig.log_in(&mut tab).await;
    let answer = tab.loaded(&client.redirect_uri).await;

    let callback = format!("{}?", rig.server.callback_url(1));
    let requests = tab.requests();
    let mut used = requests.iter().map(|request| request.url.as_str());
    let used = used.find(|url| url.starts_with(&callback)).unwrap();
    tab.open(used).await;
    for _ in 0..2 {
        let text = tab.text().await;
        assert!(text.contains("already been completed"), "{text}");
        assert!(text.contains("Request "), "{text}");
        tab.call("Page.reload", json!({})).await;
        tab.loaded(&callback).await;
    }
    let statuses = tab.statuses("GET", used, 4).await;
    assert!(statuses.ends_with(&[400; 3]), "{statuses:?}");
    is_good(&client, &answer, "a state").await;

    let entries = consent["entries"].as_array().unwrap();
    let entry = json!({ "entryId": entries.last().unwrap()["id"] });
    tab.call("Page.navigateToHistoryEntry", entry).await;
    tab.loaded(&rig.server.url).await;
    tab.click(REFUSE).await;
    let refused = tab.loaded(&client.redirect_uri).await;
    assert_eq!(param(&refused, "error"), "access_denied");
    let logins = rig.server.list("/api/v1/logins?sort=asc").await;
    let outcomes: Vec<_> = logins.iter().map(|login| &login["outcome"]).collect();
    assert_eq!(outcomes, ["success", "denied"]);
}
