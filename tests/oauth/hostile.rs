//! Hostile text wherever strangers write: shown inert or refused, and never an error of ours.

use serde_json::json;
use support::{ALICE, Answer, Browser, HOSTILE, Page, Params, Pkce, is_inert, plain_http};

use crate::rig::Rig;

/// Markup, quotes and controls of strangers are text on a page, or nothing.
#[track_caller]
fn is_clean(page: &Page) {
    assert!(page.status < 500, "{} {}", page.status, page.body);
    let body = &page.body;
    for markup in ["<script", "<img", "\" onerror", "href=\"javascript"] {
        assert!(!body.contains(markup), "{markup}: {body}");
    }
    assert!(is_inert(body), "{body:?}");
    for (name, value) in &page.headers {
        assert!(value.to_str().is_ok_and(is_inert), "{name}: {value:?}");
    }
    assert!(!page.headers.contains_key("x"), "a header was smuggled in");
}

fn is_answered(answer: &Answer, case: &str) {
    assert!(answer.status < 500, "{case}: {answer:?}");
}

async fn get(url: &str) -> Page {
    Browser::new().open(url, "http://nowhere.invalid/").await
}

#[tokio::test]
async fn what_clients_say_of_themselves() {
    let rig = Rig::with(json!({})).await;
    let mut named = 0;
    for text in HOSTILE {
        for member in [
            "client_name",
            "client_uri",
            "logo_uri",
            "tos_uri",
            "policy_uri",
            "software_id",
            "software_version",
            "scope",
            "contacts",
            "x-member",
        ] {
            let mut metadata = support::public_client();
            metadata[member] = match member {
                "contacts" => json!([text]),
                _ => json!(text),
            };
            let answer = rig.proxy.try_register(&metadata).await;
            is_answered(&answer, text);
            if answer.status != 201 {
                continue;
            }
            named += usize::from(member == "client_name");
            let client = rig.proxy.register(metadata).await;
            let page = get(&client.authorize_url(&client.authorization(&Pkce::rfc7636()))).await;
            assert_eq!(page.status, 200, "{}", page.body);
            is_clean(&page);
        }
        let mut metadata = support::public_client();
        metadata["redirect_uris"] = json!([format!("http://localhost/{text}")]);
        is_answered(&rig.proxy.try_register(&metadata).await, text);
        metadata["redirect_uris"] = json!([text]);
        rig.proxy
            .try_register(&metadata)
            .await
            .expect_error(400, "invalid_redirect_uri");
    }
    assert!(
        named > 10,
        "names with markup are names, shown as text: {named}"
    );
}

#[tokio::test]
async fn what_authorization_requests_hold() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let good = client.authorization(&Pkce::rfc7636());
    for text in HOSTILE {
        for name in [
            "client_id",
            "redirect_uri",
            "response_type",
            "scope",
            "code_challenge",
            "code_challenge_method",
            "resource",
            "prompt",
            "max_age",
            "response_mode",
            "request",
            "request_uri",
            "nonce",
            "login_hint",
            "display",
            "acr_values",
            text,
        ] {
            let url = client.authorize_url(&good.clone().with(name, text));
            let page = Browser::new().walk(&url, &client.redirect_uri, ALICE).await;
            is_clean(&page);
        }
        // `state` is the client's own: it comes back byte for byte, percent-encoded on its way.
        let params = good.clone().with("state", text);
        let page = client.authorize(&mut Browser::new(), &params, ALICE).await;
        assert_eq!(page.param("state").as_deref(), Some(text));
        let location = page.header("location");
        assert!(
            location.bytes().all(|b| b.is_ascii_graphic()),
            "{location:?}"
        );
    }
    let callback = format!("{}/api/v1/oauth/callback/1", rig.server.url);
    for text in HOSTILE {
        for name in ["state", "code", "error", "error_description", "iss", text] {
            let query = Params::new([("state", "x"), ("code", "x")])
                .with(name, text)
                .encode();
            is_clean(&get(&format!("{callback}?{query}")).await);
        }
    }
}

#[tokio::test]
async fn what_token_requests_hold() {
    let rig = Rig::start().await;
    let client = rig.proxy.register(support::confidential_client()).await;
    let code = rig.code(&client).await;
    let good = client
        .redemption(&code, &Pkce::rfc7636())
        .with("token", "x");
    for text in HOSTILE {
        for name in [
            "grant_type",
            "code",
            "redirect_uri",
            "code_verifier",
            "client_id",
            "client_secret",
            "resource",
            "scope",
            "refresh_token",
            "token",
            "token_type_hint",
        ] {
            for endpoint in ["token", "revoke", "introspect"] {
                let params = good.clone().with(name, text);
                let params = if endpoint == "token"
                    && matches!(
                        name,
                        "scope" | "token" | "refresh_token" | "token_type_hint"
                    ) {
                    params
                        .with("grant_type", "refresh_token")
                        .with("refresh_token", text)
                } else {
                    params
                };
                let answer = rig.proxy.post(endpoint, &params).await;
                is_answered(&answer, text);
                assert!(
                    answer.body.is_ascii() && is_inert(&answer.body),
                    "{answer:?}"
                );
            }
        }
    }
    client.redeem(&code, &Pkce::rfc7636()).await.expect(200);
}

/// Everything hostile that can be on record is there; then it is listed in every way.
async fn record(rig: &Rig) {
    for text in HOSTILE {
        let mut metadata = support::public_client();
        metadata["client_name"] = json!(text);
        if rig.proxy.try_register(&metadata).await.status == 201 {
            let client = rig.proxy.register(metadata).await;
            let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
            let mut sent = plain_http().get(&url);
            if let Ok(agent) = reqwest::header::HeaderValue::from_bytes(text.as_bytes()) {
                sent = sent
                    .header("user-agent", agent.clone())
                    .header("x-forwarded-for", agent);
            }
            is_answered(
                &Answer::read(sent.send().await.expect("an answer")).await,
                text,
            );
            rig.log_in(&client).await;
        }
        for (path, body) in [
            (
                "/api/v1/operators",
                json!({"name": text, "role": "auditor"}),
            ),
            ("/api/v1/operators", json!({"name": "x", "role": text})),
            ("/api/v1/api-keys", json!({"name": text, "proxy_id": 1})),
            (
                "/api/v1/revocations",
                json!({"client": "gateway_00000000000000000000000000000000", "reason": text}),
            ),
            (
                "/api/v1/providers",
                json!({"name": text, "type": "oidc", "issuer": text, "client_id": text, "client_secret": text, "scopes": text}),
            ),
        ] {
            is_answered(&rig.server.post(path, &body).await, text);
        }
        let renamed = rig
            .server
            .patch("/api/v1/proxies/1", &json!({"name": text}))
            .await;
        is_answered(&renamed, text);
    }
}

#[tokio::test]
async fn what_is_on_record_is_listed_inert() {
    let rig = Rig::start().await;
    record(&rig).await;
    let head = rig.server.get("/api/v1/status").await.expect(200).json()["head"].clone();
    for list in [
        "logins",
        "events",
        "grants",
        "clients",
        "proxies",
        "providers",
        "operators",
        "api-keys",
    ] {
        let url = format!(
            "{}/api/v1/{list}?limit=1000&min_position={head}",
            rig.server.url
        );
        let sent = plain_http().get(url).bearer_auth(&rig.server.admin_token);
        let sent = sent.header("accept", "text/csv").send().await;
        let text = Answer::read(sent.expect("an answer"))
            .await
            .expect(200)
            .body;
        let mut table = csv::Reader::from_reader(text.as_bytes());
        for row in table.records() {
            for cell in &row.expect("a row") {
                let first = cell.chars().next().unwrap_or('x');
                assert!(
                    !['=', '+', '-', '@', '\t', '\r'].contains(&first),
                    "{list}: {cell:?}"
                );
            }
        }
    }
    for command in [
        &["logins"][..],
        &["events", "list", "--limit", "1000"],
        &["grant", "list"],
        &["client", "list"],
        &["proxy", "list"],
        &["operator", "list"],
    ] {
        for format in [&[][..], &["--json"], &["--jsonl"]] {
            let output = rig.server.command(&[command, format].concat()).await;
            assert!(output.status.success(), "{command:?} {output:?}");
            for said in [output.stdout, output.stderr] {
                let said = String::from_utf8(said).expect("UTF-8");
                assert!(is_inert(&said), "{command:?} {format:?}: {said:?}");
            }
        }
    }
    assert!(is_inert(&rig.server.log()), "{:?}", rig.server.log());
}

/// What some list of the investigation can be filtered by.
const FILTERS: &str = "subject email client_id proxy_id provider_id ip outcome reason since until type stream \
    grant_id request_id after limit cursor sort min_position live seed at";

#[tokio::test]
async fn what_investigators_ask() {
    let rig = Rig::start().await;
    rig.log_in(&rig.client().await).await;
    for text in HOSTILE {
        for list in [
            "logins",
            "events",
            "grants",
            "clients",
            "proxies",
            "providers",
            "operators",
            "api-keys",
            "blast-radius",
            "state/grants/x",
        ] {
            for filter in FILTERS.split(' ').chain([text]) {
                let query = Params::new([(filter, text)]).encode();
                let answer = rig.server.get(&format!("/api/v1/{list}?{query}")).await;
                is_answered(&answer, &format!("{list} {filter} {text:?}"));
            }
        }
        let mut url = url::Url::parse(&rig.server.url).expect("a URL");
        for path in [
            "grants",
            "clients",
            "proxies",
            "providers",
            "operators",
            "api-keys",
            "events",
            "state",
            "grants/x",
            "clients/x",
        ] {
            let segments = ["api", "v1"]
                .into_iter()
                .chain(path.split('/'))
                .chain([text, "timeline"]);
            url.path_segments_mut()
                .expect("a base")
                .clear()
                .extend(segments);
            is_answered(&rig.server.get(url.path()).await, path);
            is_answered(
                &rig.server
                    .delete(url.path().trim_end_matches("/timeline"))
                    .await,
                path,
            );
        }
        for (path, body) in [
            ("resolve", json!({"value": text})),
            ("introspect-at", json!({"token": text, "at": text})),
        ] {
            is_answered(
                &rig.server.post(&format!("/api/v1/{path}"), &body).await,
                path,
            );
        }
    }
    assert!(!rig.server.log().contains("panicked"));
}
