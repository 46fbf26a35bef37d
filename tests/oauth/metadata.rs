//! What clients discover.

use serde_json::{Value, json};
use support::{Answer, plain_http};

use crate::rig::Rig;

#[tokio::test]
async fn one_document_at_every_address() {
    let rig = Rig::start().await;
    let url = &rig.server.url;
    let mut documents = Vec::new();
    for path in [
        "/.well-known/oauth-authorization-server?proxy_id=1",
        "/.well-known/oauth-authorization-server/api/v1/oauth-proxy/1",
        "/.well-known/openid-configuration/api/v1/oauth-proxy/1",
        "/api/v1/oauth-proxy/1/.well-known/openid-configuration",
    ] {
        let sent = plain_http()
            .get(format!("{url}{path}"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(sent.headers()["access-control-allow-origin"], "*");
        assert!(sent.headers().contains_key("etag"));
        documents.push(Answer::read(sent).await.expect(200).body);
    }
    documents.dedup();
    assert_eq!(documents.len(), 1);
    let document: Value = serde_json::from_str(&documents[0]).expect("JSON");
    assert_eq!(document["issuer"], rig.proxy.issuer.as_str());
    assert_eq!(
        document["code_challenge_methods_supported"],
        json!(["S256"])
    );
    for (name, value) in document.as_object().expect("an object") {
        if name.ends_with("_endpoint") || name == "jwks_uri" {
            let target = value.as_str().expect("a URL");
            assert!(target.starts_with(&rig.proxy.issuer), "{name}");
            let answer = plain_http().get(target).send().await.expect("an answer");
            assert_ne!(answer.status(), 404, "{name} does not exist");
        }
    }
    let post = plain_http().post(format!(
        "{url}/.well-known/oauth-authorization-server?proxy_id=1"
    ));
    assert_eq!(post.send().await.expect("an answer").status(), 405);
}

#[tokio::test]
async fn public_keys_verify_and_hold_nothing_private() {
    let rig = Rig::start().await;
    let mut signed_with = Vec::new();
    for alg in ["ES256", "EdDSA", "RS256", "HS256"] {
        let change = json!({"config": {"oauth_proxy_token_alg": alg}});
        rig.server
            .patch("/api/v1/proxies/1", &change)
            .await
            .expect(200);
        let client = rig.client().await;
        let tokens = rig.log_in(&client).await;
        assert!(rig.admits(&tokens.access).await, "{alg}");
        let jwks = plain_http()
            .get(format!("{}/jwks", rig.proxy.issuer))
            .send()
            .await;
        let jwks = Answer::read(jwks.expect("an answer"))
            .await
            .expect(200)
            .json();
        let keys = jwks["keys"].as_array().expect("keys");
        signed_with.push(tokens.kid());
        let published: Vec<_> = keys.iter().map(|key| key["kid"].clone()).collect();
        // Tokens of a former algorithm are good until they end.
        let expected = if alg == "HS256" {
            &[]
        } else {
            &signed_with[..]
        };
        assert!(
            expected.iter().all(|kid| published.contains(&json!(kid))),
            "{jwks}"
        );
        assert_eq!(published.len(), expected.len(), "{jwks}");
        for key in keys {
            assert_eq!(key["use"], "sig");
            for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert!(key.get(private).is_none(), "{private}");
            }
        }
    }
}

/// RFC 9110 §13.1.2: weakly compared, in a list, or any.
#[tokio::test]
async fn what_a_cache_has_is_not_sent_again() {
    let rig = Rig::start().await;
    let url = format!("{}/.well-known/openid-configuration", rig.proxy.issuer);
    let first = plain_http().get(&url).send().await.expect("an answer");
    let etag = first.headers()["etag"].to_str().expect("text").to_owned();
    for (known, status) in [
        (etag.clone(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"other\", W/{etag}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
        (String::new(), 200),
    ] {
        let sent = plain_http().get(&url).header("if-none-match", &known);
        let answer = Answer::read(sent.send().await.expect("an answer")).await;
        assert_eq!(answer.status, status, "{known}");
        assert_eq!(answer.header("etag"), etag);
    }
}
