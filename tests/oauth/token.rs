//! The token endpoint with a code, revocation and introspection.

use futures_util::future::join_all;
use serde_json::json;
use support::{Answer, Browser, Params, Pkce, Tokens, plain_http};

use crate::refresh::upstream_tokens;
use crate::rig::{Rig, refused};

#[tokio::test]
async fn every_single_violation_fails_and_consumes_nothing() {
    let rig = Rig::start().await;
    let client = rig.proxy.register(support::confidential_client()).await;
    let other = rig.proxy.register(support::confidential_client()).await;
    let pkce = Pkce::rfc7636();
    let code = rig.code(&client).await;
    let good = client.redemption(&code, &pkce);
    let stranger = other.redemption(&code, &pkce);
    for (params, status, error) in [
        (
            good.clone()
                .with("redirect_uri", "http://127.0.0.1:33418/other"),
            400,
            "invalid_grant",
        ),
        (good.clone().without("code_verifier"), 400, "invalid_grant"),
        (
            good.clone().with("code_verifier", &"x".repeat(43)),
            400,
            "invalid_grant",
        ),
        (
            good.clone().with("code_verifier", "short"),
            400,
            "invalid_grant",
        ),
        (good.clone().with("code", "gw_code_x"), 400, "invalid_grant"),
        (good.clone().without("code"), 400, "invalid_request"),
        (
            good.clone()
                .with("resource", "https://elsewhere.example/mcp"),
            400,
            "invalid_target",
        ),
        (
            good.clone().with("client_secret", "wrong"),
            401,
            "invalid_client",
        ),
        (good.clone().without("client_secret"), 401, "invalid_client"),
        (
            good.clone().with("client_id", "gateway_nobody"),
            401,
            "invalid_client",
        ),
        (good.clone().without("grant_type"), 400, "invalid_request"),
        (
            good.clone().with("grant_type", "password"),
            400,
            "unsupported_grant_type",
        ),
        (good.clone().and("code", &code), 400, "invalid_request"),
        (
            good.clone().and("client_id", &client.id),
            400,
            "invalid_request",
        ),
        (stranger, 400, "invalid_grant"),
    ] {
        refused(rig.token(&params).await, status, error);
    }
    let answer = rig.token(&good).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 3600);
    assert_eq!(body["scope"], "read write");
    let tokens = Tokens::of(&answer);
    let claims = tokens.claims();
    assert_eq!(claims["iss"], rig.proxy.issuer.as_str());
    assert_eq!(claims["aud"], rig.proxy.mcp_url.as_str());
    assert_eq!(claims["client_id"], client.id.as_str());
    let issued = rig.server.events("type=grant.code_redeemed").await;
    assert_eq!(claims["jti"], issued[0]["id"]);
}

#[tokio::test]
async fn a_replayed_code_kills_everything_and_a_strangers_replay_nothing() {
    let rig = Rig::start().await;
    let (client, other) = (rig.client().await, rig.client().await);
    let pkce = Pkce::rfc7636();
    let code = rig.code(&client).await;
    let tokens = Tokens::of(&client.redeem(&code, &pkce).await.expect(200));
    refused(
        rig.token(&other.redemption(&code, &pkce)).await,
        400,
        "invalid_grant",
    );
    assert!(rig.admits(&tokens.access).await);
    for _ in 0..2 {
        refused(client.redeem(&code, &pkce).await, 400, "invalid_grant");
    }
    assert!(!rig.admits(&tokens.access).await);
    refused(client.refresh(&tokens.refresh).await, 400, "invalid_grant");
    assert_eq!(rig.server.events("type=grant.code_replayed").await.len(), 1);
    assert_eq!(upstream_tokens(&rig), 0);
}

#[tokio::test]
async fn of_fifty_redemptions_at_once_one_succeeds() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let (code, pkce) = (rig.code(&client).await, Pkce::rfc7636());
    let answers = join_all((0..50).map(|_| client.redeem(&code, &pkce))).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| [200, 400].contains(status)),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn how_clients_authenticate() {
    let rig = Rig::start().await;
    let mut unsaid = support::confidential_client();
    unsaid
        .as_object_mut()
        .expect("an object")
        .remove("token_endpoint_auth_method");
    let (post, either) = (
        rig.proxy.register(support::confidential_client()).await,
        rig.proxy.register(unsaid).await,
    );
    let url = format!("{}/token", rig.proxy.issuer);
    let basic = async |id: &str, secret: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", "gw_refresh_x"),
        ];
        let sent = plain_http()
            .post(&url)
            .basic_auth(id, Some(secret))
            .form(&form)
            .send()
            .await;
        Answer::read(sent.expect("an answer")).await
    };
    // Who did not choose may use either; who chose is held to it. Past authentication the token is
    // what is wrong.
    let secret = either.secret.as_deref().expect("a secret");
    refused(basic(&either.id, secret).await, 400, "invalid_grant");
    refused(either.refresh("gw_refresh_x").await, 400, "invalid_grant");
    let secret = post.secret.as_deref().expect("a secret");
    let held = basic(&post.id, secret).await;
    assert!(
        held.header("www-authenticate").starts_with("Basic"),
        "{held:?}"
    );
    refused(held, 401, "invalid_client");
    let garbled = plain_http().post(&url).header("authorization", "Basic !!!");
    let garbled = garbled
        .form(&[("grant_type", "refresh_token")])
        .send()
        .await;
    refused(
        Answer::read(garbled.expect("an answer")).await,
        401,
        "invalid_client",
    );
    let public = rig.client().await;
    let with_secret = Params::new([
        ("grant_type", "refresh_token"),
        ("refresh_token", "gw_refresh_x"),
    ])
    .with("client_id", &public.id)
    .with("client_secret", "surprise");
    refused(rig.token(&with_secret).await, 401, "invalid_client");
}

/// RFC 6749 §2.3.1: an empty secret is none, and some clients always send Basic.
#[tokio::test]
async fn an_empty_password_is_no_secret() {
    let mut rig = Rig::start().await;
    let public = rig.client().await;
    let tokens = rig.log_in(&public).await;
    let url = format!("{}/token", rig.proxy.issuer);
    let refresh = async |id: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &tokens.refresh),
        ];
        let sent = plain_http()
            .post(&url)
            .basic_auth(id, Some(""))
            .form(&form)
            .send()
            .await;
        Answer::read(sent.expect("an answer")).await
    };
    refresh(&public.id).await.expect(200);
    let confidential = rig.proxy.register(support::confidential_client()).await;
    refused(refresh(&confidential.id).await, 401, "invalid_client");
    // What is not recorded yet is when the server stops.
    rig.server.stop().await;
    rig.server.start_again().await;
    let refusals = rig.server.events("type=request.refused").await;
    assert_eq!(refusals[0]["data"]["cause"], "client_secret_missing");
}

/// RFC 7591 §2: the registered method is the token endpoint's. Who logs out in the other way, as
/// some libraries do unasked, is not left logged in.
#[tokio::test]
async fn a_client_may_log_out_in_either_way() {
    let rig = Rig::start().await;
    let client = rig.proxy.register(support::confidential_client()).await;
    let tokens = rig.log_in(&client).await;
    let secret = client.secret.as_deref().expect("a secret");
    let basic = async |endpoint: &str, secret: &str| {
        let url = format!("{}/{endpoint}", rig.proxy.issuer);
        let sent = plain_http()
            .post(url)
            .basic_auth(&client.id, Some(secret))
            .form(&[("token", &tokens.refresh)])
            .send()
            .await;
        Answer::read(sent.expect("an answer")).await
    };
    for endpoint in ["introspect", "revoke"] {
        refused(basic(endpoint, "a guess").await, 401, "invalid_client");
    }
    let active = basic("introspect", secret).await.expect(200).json();
    assert_eq!(active["active"], true);
    basic("revoke", secret).await.expect(200);
    refused(client.refresh(&tokens.refresh).await, 400, "invalid_grant");
}

#[tokio::test]
async fn bodies_that_are_no_forms() {
    let rig = Rig::start().await;
    let url = format!("{}/token", rig.proxy.issuer);
    let post = async |mime: &str, body: String| {
        let sent = plain_http()
            .post(&url)
            .header("content-type", mime)
            .body(body)
            .send()
            .await;
        Answer::read(sent.expect("an answer")).await
    };
    let form = "application/x-www-form-urlencoded";
    refused(
        post("application/json", "{}".into()).await,
        400,
        "invalid_request",
    );
    refused(post("", String::new()).await, 400, "invalid_request");
    refused(post(form, String::new()).await, 400, "invalid_request");
    refused(
        post(form, "grant_type=authorization_code&".repeat(100)).await,
        400,
        "invalid_request",
    );
    refused(post(form, "a".repeat(70_000)).await, 413, "invalid_request");
    let got = plain_http().get(&url).send().await.expect("an answer");
    assert_eq!(got.status(), 405);
}

#[tokio::test]
async fn codes_and_clients_of_one_proxy_are_nothing_at_another() {
    let rig = Rig::start().await;
    let second = rig
        .server
        .add_proxy(
            "http://127.0.0.1:9/mcp",
            json!({"oauth_proxy_provider_id": 1}),
        )
        .await;
    let client = rig.client().await;
    let code = rig.code(&client).await;
    let params = client.redemption(&code, &Pkce::rfc7636());
    refused(second.post("token", &params).await, 401, "invalid_client");
    let url = client
        .authorize_url(&client.authorization(&Pkce::rfc7636()))
        .replace("oauth-proxy/1/", "oauth-proxy/2/");
    let page = Browser::new().open(&url, "http://nowhere.invalid/").await;
    assert_eq!(page.status, 400);
    client.redeem(&code, &Pkce::rfc7636()).await.expect(200);
}

#[tokio::test]
async fn revocation_and_introspection() {
    let rig = Rig::start().await;
    let client = rig.proxy.register(support::confidential_client()).await;
    let other = rig.proxy.register(support::confidential_client()).await;
    let public = rig.client().await;
    for revoked in [true, false] {
        let tokens = rig.log_in(&client).await;
        let active = client.introspect(&tokens.access).await.expect(200);
        assert_eq!(active.header("cache-control"), "no-store");
        assert_eq!(active.json()["active"], true);
        assert_eq!(
            client.introspect(&tokens.refresh).await.json()["active"],
            true
        );
        let inactive = json!({"active": false});
        assert_eq!(
            other.introspect(&tokens.access).await.expect(200).json(),
            inactive
        );
        assert_eq!(
            client.introspect("garbage").await.expect(200).json(),
            inactive
        );
        let token = if revoked {
            &tokens.access
        } else {
            &tokens.refresh
        };
        for _ in 0..2 {
            client.revoke(token).await.expect(200);
        }
        assert_eq!(client.introspect(&tokens.access).await.json(), inactive);
        assert_eq!(client.introspect(&tokens.refresh).await.json(), inactive);
        assert!(!rig.admits(&tokens.access).await);
    }
    client.revoke("garbage").await.expect(200);
    refused(public.introspect("x").await, 401, "invalid_client");
    let nothing = client.authenticated(Params::new([]));
    refused(
        rig.proxy.post("revoke", &nothing).await,
        400,
        "invalid_request",
    );
    let tokens = rig.log_in(&client).await;
    let stranger = other.revoke(&tokens.refresh).await;
    assert!([200, 400].contains(&stranger.status));
    assert!(
        rig.admits(&tokens.access).await,
        "a stranger revokes nothing"
    );
}

/// RFC 8707 §2.2: a token for one of the resources that were authorized, and for no more.
#[tokio::test]
async fn a_token_may_be_for_one_of_the_authorized_resources() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let pkce = Pkce::rfc7636();
    let short = format!("{}/mcp", rig.server.gateway_url);
    let authorize = async |params: &Params| {
        let mut browser = Browser::new();
        let page = client.authorize(&mut browser, params, support::ALICE).await;
        page.param("code").unwrap_or_else(|| panic!("{page:#?}"))
    };
    let plain = client.authorization(&pkce);
    let both = plain.clone().with("resource", &short);
    let both = both.and("resource", &rig.proxy.mcp_url);
    for params in [&plain, &both] {
        let code = authorize(params).await;
        let redemption = client.redemption(&code, &pkce).with("resource", &short);
        let tokens = Tokens::of(&rig.token(&redemption).await.expect(200));
        assert_eq!(tokens.claims()["aud"], short.as_str());
        // It is good there alone, and the next one is again what was authorized.
        assert!(!rig.admits(&tokens.access).await);
        let next = Tokens::of(&client.refresh(&tokens.refresh).await.expect(200));
        assert_eq!(next.claims()["aud"], rig.proxy.mcp_url.as_str());
        assert!(rig.admits(&next.access).await);
    }
    let issued = rig.server.events("type=grant.code_redeemed").await;
    assert_eq!(issued[0]["data"]["resource"], short.as_str());
    let code = authorize(&plain.clone().with("resource", &short)).await;
    let wider = client.redemption(&code, &pkce);
    let wider = wider.with("resource", &rig.proxy.mcp_url);
    refused(rig.token(&wider).await, 400, "invalid_target");
}
