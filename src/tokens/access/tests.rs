use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::keys::{KeyInfo, StoredKey, generate};

const ISSUER: &str = "http://127.0.0.1:8080/api/v1/oauth-proxy/1";
const RESOURCE: &str = "http://127.0.0.1:9001/mcp";
const ALL: [Algorithm; 4] = [
    Algorithm::HS256,
    Algorithm::ES256,
    Algorithm::EdDSA,
    Algorithm::RS256,
];

fn at(seconds: i64) -> Timestamp {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("in range")
}

fn key(alg: Algorithm, kid: &str, not_before: Timestamp) -> StoredKey {
    generate(KeyInfo {
        kid: kid.to_owned(),
        alg,
        created_at: not_before,
        not_before,
        retires_at: None,
    })
    .expect("generated")
}

fn snapshot(stored: impl IntoIterator<Item = StoredKey>) -> SigningKeys {
    let keys = stored.into_iter().map(|stored| stored.try_into());
    SigningKeys::new(keys.collect::<Result<_, _>>().expect("keys"))
}

fn keys() -> SigningKeys {
    snapshot(ALL.map(|alg| key(alg, &format!("kid-{alg}"), at(0))))
}

fn claims() -> Claims {
    Claims {
        iss: ISSUER.to_owned(),
        sub: SubjectId(Uuid::from_u128(1)),
        aud: RESOURCE.to_owned(),
        client_id: ClientId(Uuid::from_u128(2)),
        scope: "read write".parse().expect("a scope"),
        iat: at(0).timestamp(),
        exp: at(3600).timestamp(),
        jti: EventId(Uuid::from_u128(3)),
        grant: GrantId(Uuid::from_u128(4)),
    }
}

fn expected(now: Timestamp) -> Expected<'static> {
    Expected {
        issuer: ISSUER,
        audiences: &["http://127.0.0.1:9001/proxy/1/mcp", RESOURCE],
        now,
        leeway_s: 0,
    }
}

/// A token signed with `secret`, with any header and claims.
fn forge(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(
        message.as_bytes(),
        &EncodingKey::from_secret(secret),
        jsonwebtoken::Algorithm::HS256,
    );
    format!("{message}.{}", signature.expect("signed"))
}

/// Checks what becomes of a rightly signed token with another header or other claims.
#[track_caller]
fn check(header: Value, edit: impl FnOnce(&mut Value), outcome: Result<(), Rejection>) {
    let stored = key(Algorithm::HS256, "kid-1", at(0));
    let mut body = serde_json::to_value(claims()).expect("JSON");
    edit(&mut body);
    let token = forge(&header, &body, &stored.private);
    let verified = verify(&snapshot([stored]), &token, expected(at(1)));
    assert_eq!(verified.map(drop), outcome, "{header} {body}");
}

fn header() -> Value {
    json!({"typ": "at+jwt", "alg": "HS256", "kid": "kid-1"})
}

#[test]
fn every_algorithm_round_trips() {
    let keys = keys();
    for alg in ALL {
        let token = mint(&keys, alg, &claims(), at(0)).expect("minted");
        assert_eq!(
            verify(&keys, &token, expected(at(1))),
            Ok(claims()),
            "{alg}"
        );
        let header = jsonwebtoken::decode_header(&token).expect("a header");
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(header.kid, Some(format!("kid-{alg}")));
    }
}

#[test]
fn claims_are_those_of_the_profile() {
    let body = serde_json::to_value(claims()).expect("JSON");
    let names: Vec<_> = body.as_object().expect("an object").keys().collect();
    assert_eq!(
        names,
        [
            "aud",
            "client_id",
            "exp",
            "grant",
            "iat",
            "iss",
            "jti",
            "scope",
            "sub"
        ]
    );
    assert_eq!(body["scope"], "read write");
    assert_eq!(body["aud"], RESOURCE);
}

#[test]
fn any_changed_character_is_refused() {
    let keys = keys();
    for alg in [Algorithm::HS256, Algorithm::ES256, Algorithm::EdDSA] {
        let token = mint(&keys, alg, &claims(), at(0)).expect("minted");
        for position in 0..token.len() {
            for with in ["A", "B", ".", "="] {
                let mut changed = token.clone();
                changed.replace_range(position..=position, with);
                let accepted = verify(&keys, &changed, expected(at(1))).is_ok();
                assert_eq!(accepted, changed == token, "{alg} {position} {with}");
            }
        }
    }
}

#[test]
fn time_is_the_one_passed_in() {
    let keys = keys();
    let token = mint(&keys, Algorithm::HS256, &claims(), at(0)).expect("minted");
    let try_at = |seconds, leeway_s| {
        let expected = Expected {
            leeway_s,
            ..expected(at(seconds))
        };
        verify(&keys, &token, expected).map(drop)
    };
    assert_eq!(try_at(-1, 0), Err(Rejection::NotYetValid));
    assert_eq!(try_at(-1, 1), Ok(()));
    assert_eq!(try_at(0, 0), Ok(()));
    assert_eq!(try_at(3599, 0), Ok(()));
    assert_eq!(try_at(3600, 0), Err(Rejection::Expired));
    assert_eq!(try_at(3604, 5), Ok(()));
    assert_eq!(try_at(3605, 5), Err(Rejection::Expired));
}

#[test]
fn type_must_be_that_of_access_tokens() {
    for typ in [
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "Application/At+Jwt",
    ] {
        check(
            json!({"typ": typ, "alg": "HS256", "kid": "kid-1"}),
            |_| {},
            Ok(()),
        );
    }
    for typ in ["JWT", "jwt", "", "id+jwt", "at+jwt ", "text/at+jwt"] {
        check(
            json!({"typ": typ, "alg": "HS256", "kid": "kid-1"}),
            |_| {},
            Err(Rejection::WrongType),
        );
    }
    check(
        json!({"alg": "HS256", "kid": "kid-1"}),
        |_| {},
        Err(Rejection::WrongType),
    );
}

#[test]
fn a_token_cannot_say_how_to_verify_it() {
    let jwk = json!({"kty": "oct", "k": "AAAA"});
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("jwk", jwk),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/chain")),
        ("x5c", json!(["AAAA"])),
    ] {
        let mut header = header();
        header[name] = value;
        check(header, |_| {}, Err(Rejection::UnsupportedHeader));
    }
}

#[test]
fn the_kid_names_a_key_in_memory_or_nothing() {
    for kid in [
        "kid-2",
        "../../x",
        "",
        "kid-1 ",
        "/dev/null",
        "https://evil.example/",
    ] {
        check(
            json!({"typ": "at+jwt", "alg": "HS256", "kid": kid}),
            |_| {},
            Err(Rejection::UnknownKey),
        );
    }
    let header = json!({"typ": "at+jwt", "alg": "HS256"});
    check(header, |_| {}, Err(Rejection::UnknownKey));
}

#[test]
fn the_key_fixes_the_algorithm() {
    for alg in ["none", "None", "NONE", "HS255", ""] {
        let header = json!({"typ": "at+jwt", "alg": alg, "kid": "kid-1"});
        check(header, |_| {}, Err(Rejection::Malformed));
    }
    for alg in ["HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256"] {
        let header = json!({"typ": "at+jwt", "alg": alg, "kid": "kid-1"});
        check(header, |_| {}, Err(Rejection::WrongAlgorithm));
    }
}

/// The key of an algorithm, as a proxy publishes it that signs with another one now.
fn published(keys: &SigningKeys, alg: Algorithm) -> Value {
    let signs_with = match alg {
        Algorithm::ES256 => Algorithm::EdDSA,
        Algorithm::EdDSA | Algorithm::RS256 | Algorithm::HS256 => Algorithm::ES256,
    };
    let set = serde_json::to_value(keys.jwks(signs_with, at(0))).expect("JSON");
    let mut keys = set["keys"].as_array().expect("keys").iter();
    let found = keys.find(|key| key["alg"] == alg.as_str());
    found.expect("published").clone()
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    let keys = keys();
    let body = serde_json::to_value(claims()).expect("JSON");
    for alg in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256] {
        let public = published(&keys, alg);
        let kid = public["kid"].as_str().expect("a kid");
        let header = json!({"typ": "at+jwt", "alg": "HS256", "kid": kid});
        let member = ["n", "x"].iter().find_map(|name| public[name].as_str());
        let bytes = URL_SAFE_NO_PAD
            .decode(member.expect("n or x"))
            .expect("base64");
        for secret in [public.to_string().as_bytes(), &bytes] {
            let token = forge(&header, &body, secret);
            let verified = verify(&keys, &token, expected(at(1)));
            assert_eq!(verified, Err(Rejection::WrongAlgorithm), "{alg}");
        }
    }
}

#[test]
fn one_key_does_not_sign_in_the_name_of_another() {
    let ours = key(Algorithm::HS256, "kid-1", at(0));
    let other = key(Algorithm::HS256, "kid-1", at(0));
    let token = mint(&snapshot([other]), Algorithm::HS256, &claims(), at(0)).expect("minted");
    let verified = verify(&snapshot([ours]), &token, expected(at(1)));
    assert_eq!(verified, Err(Rejection::BadSignature));
}

#[test]
fn issuer_and_audience_are_exact() {
    for iss in [format!("{ISSUER}/"), ISSUER.to_uppercase(), String::new()] {
        check(
            header(),
            |body| body["iss"] = json!(iss),
            Err(Rejection::WrongIssuer),
        );
    }
    for aud in ["http://127.0.0.1:9001/mcp/", "http://127.0.0.1:9001/", ""] {
        check(
            header(),
            |body| body["aud"] = json!(aud),
            Err(Rejection::WrongAudience),
        );
    }
    let many = json!([RESOURCE, "https://evil.example/"]);
    check(
        header(),
        |body| body["aud"] = many,
        Err(Rejection::Malformed),
    );
}

#[test]
fn every_claim_but_scope_is_required() {
    for claim in [
        "iss",
        "sub",
        "aud",
        "client_id",
        "iat",
        "exp",
        "jti",
        "grant",
    ] {
        let remove = |body: &mut Value| {
            body.as_object_mut().expect("an object").remove(claim);
        };
        check(header(), remove, Err(Rejection::Malformed));
        check(
            header(),
            |body| body[claim] = Value::Null,
            Err(Rejection::Malformed),
        );
        check(
            header(),
            |body| body[claim] = json!(-1.5),
            Err(Rejection::Malformed),
        );
    }
    let remove = |body: &mut Value| {
        body.as_object_mut().expect("an object").remove("scope");
    };
    check(header(), remove, Ok(()));
}

#[test]
fn other_texts_are_malformed() {
    let keys = keys();
    let long = "A".repeat(LEN_MAX + 1);
    for token in [
        "",
        ".",
        "..",
        "a.b.c",
        "gw_key_x",
        "e30.e30.",
        "e30.e30.e30.e30",
        &long,
    ] {
        let verified = verify(&keys, token, expected(at(1)));
        assert_eq!(verified, Err(Rejection::Malformed), "{token:.20}");
    }
}

#[test]
fn rotation_signs_with_the_new_key_and_verifies_with_both() {
    let mut old = key(Algorithm::ES256, "old", at(0));
    old.info.retires_at = Some(at(200));
    let new = key(Algorithm::ES256, "new", at(100));
    let keys = snapshot([old, new]);
    let kid_at = |now| {
        keys.in_use(Algorithm::ES256, now)
            .map(|key| key.info.kid.as_str())
    };
    assert_eq!(kid_at(at(-1)), Some("old"), "the clock was set back");
    assert_eq!(kid_at(at(99)), Some("old"));
    assert_eq!(kid_at(at(100)), Some("new"));
    let published = |now| keys.jwks(Algorithm::ES256, now).keys.len();
    assert_eq!(
        (published(at(0)), published(at(199)), published(at(200))),
        (2, 2, 1)
    );
    let token = mint(&keys, Algorithm::ES256, &claims(), at(99)).expect("minted");
    assert!(verify(&keys, &token, expected(at(199))).is_ok());
    assert_eq!(
        verify(&keys, &token, expected(at(200))),
        Err(Rejection::UnknownKey)
    );
    let (explained, by) = authenticate(&keys, &token).expect("still ours");
    assert_eq!((explained, by.info.kid.as_str()), (claims(), "old"));
}

#[test]
fn key_sets_hold_public_members_alone() {
    let keys = keys();
    assert!(keys.jwks(Algorithm::HS256, at(0)).keys.is_empty());
    for (alg, members) in [
        (
            Algorithm::ES256,
            &["alg", "crv", "kid", "kty", "use", "x", "y"][..],
        ),
        (Algorithm::EdDSA, &["alg", "crv", "kid", "kty", "use", "x"]),
        (Algorithm::RS256, &["alg", "e", "kid", "kty", "n", "use"]),
    ] {
        let public = published(&keys, alg);
        let public = public.as_object().expect("a key");
        assert!(public.keys().eq(members.iter()), "{alg} {public:?}");
        assert_eq!(
            (&public["use"], &public["alg"]),
            (&json!("sig"), &json!(alg.as_str()))
        );
    }
}

#[test]
fn reasons_are_stable() {
    for reason in [
        Rejection::Malformed,
        Rejection::WrongType,
        Rejection::UnsupportedHeader,
        Rejection::UnknownKey,
        Rejection::WrongAlgorithm,
        Rejection::BadSignature,
        Rejection::Expired,
        Rejection::NotYetValid,
        Rejection::WrongIssuer,
        Rejection::WrongAudience,
    ] {
        assert_eq!(reason.as_str(), reason.to_string());
    }
}

#[test]
fn debug_shows_no_key() {
    let stored = key(Algorithm::HS256, "kid-1", at(0));
    let shown = format!("{:?}", snapshot([stored]));
    assert!(!shown.contains("encoding") && shown.contains("kid-1"));
}

/// The clock was ahead when the first key was made: refusing until it has caught up would help nobody.
#[test]
fn a_key_that_is_alone_signs_before_its_time() {
    let only = key(Algorithm::HS256, "kid-1", at(0) + Duration::from_secs(3600));
    let keys = snapshot([only]);
    let token = mint(&keys, Algorithm::HS256, &claims(), at(0)).expect("minted");
    assert!(verify(&keys, &token, expected(at(1))).is_ok());
    let refused = mint(&keys, Algorithm::ES256, &claims(), at(0));
    assert_eq!(refused, Err(NoKey(Algorithm::ES256)));
}
