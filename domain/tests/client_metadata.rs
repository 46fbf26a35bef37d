//! What clients say about themselves, and what is kept of it.

use domain::client::metadata::{ClientMetadata, GrantType, InvalidMetadata};
use domain::redirect_uri::{AllowedRedirects, RedirectUriRule};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The list of a proxy that welcomes the clients people use today.
fn allowed() -> AllowedRedirects {
    AllowedRedirects::new([
        "http://localhost:*",
        "http://127.0.0.1:*",
        "cursor://*",
        "com.example.app:/cb",
        "https://www.cursor.com/agents/mcp/oauth/callback",
        "https://vscode.dev/redirect",
        "https://insiders.vscode.dev/redirect",
        "https://claude.ai/api/mcp/auth_callback",
        "https://chatgpt.com/connector/oauth/abc",
        "https://app.example/cb",
    ])
}

fn parse(document: &Value) -> Result<ClientMetadata, InvalidMetadata> {
    ClientMetadata::parse(document, &allowed())
}

/// A document with one redirect URI and these further members.
fn with(members: Value) -> Value {
    let mut document = json!({"redirect_uris": ["https://app.example/cb"]});
    let (Value::Object(document_members), Value::Object(members)) = (&mut document, members) else {
        panic!("members must be an object");
    };
    document_members.extend(members);
    document
}

#[track_caller]
fn effective(document: Value, member: &str, expected: Value) {
    let parsed = parse(&document).expect("valid");
    assert_eq!(
        parsed.effective().get(member),
        Some(&expected),
        "{document}"
    );
}

#[track_caller]
fn drops(document: Value, member: &str) {
    let parsed = parse(&document).expect("valid");
    assert_eq!(parsed.effective().get(member), None, "{document}");
}

#[track_caller]
fn refuses(document: Value, member: &str) {
    match parse(&document).expect_err("broken") {
        InvalidMetadata::Member { member: found, .. } => assert_eq!(found, member, "{document}"),
        other => panic!("{document}: {other}"),
    }
}

#[track_caller]
fn refuses_redirects(redirect_uris: Value) {
    let error = parse(&json!({"redirect_uris": redirect_uris})).expect_err("broken");
    assert_eq!(error, InvalidMetadata::RedirectUris, "{redirect_uris}");
}

#[test]
fn what_is_left_open_has_defaults() {
    let document = with(json!({}));
    effective(
        document.clone(),
        "token_endpoint_auth_method",
        json!("client_secret_basic"),
    );
    effective(
        document.clone(),
        "grant_types",
        json!(["authorization_code"]),
    );
    effective(document.clone(), "response_types", json!(["code"]));
    effective(
        document.clone(),
        "redirect_uris",
        json!(["https://app.example/cb"]),
    );
    let parsed = parse(&document).expect("valid");
    assert_eq!(parsed.token_endpoint_auth_method, None, "it did not choose");
    assert!(!parsed.allows(GrantType::RefreshToken));
}

#[test]
fn null_empty_and_unknown_members_are_absent() {
    let document = with(json!({
        "client_name": null, "client_uri": "", "logo_uri": null, "scope": "", "x-foo": {"a": [1]},
        "resource": "https://mcp.example/mcp", "token_endpoint_auth_method": null,
        "grant_types": null, "client_name#de": 7,
    }));
    assert_eq!(parse(&document), parse(&with(json!({}))));
}

#[test]
fn redirect_uris_are_a_list_of_1_to_20() {
    for wrong in [
        json!(null),
        json!([]),
        json!("https://app.example/cb"),
        json!([7]),
        json!({}),
    ] {
        refuses_redirects(wrong);
    }
    refuses_redirects(json!(vec!["https://app.example/cb"; 21]));
    assert_eq!(parse(&json!({})), Err(InvalidMetadata::RedirectUris));
    effective(
        json!({"redirect_uris": vec!["https://app.example/cb"; 20]}),
        "redirect_uris",
        json!(["https://app.example/cb"]),
    );
    for wrong in [json!([]), json!("x"), json!(null)] {
        assert_eq!(parse(&wrong), Err(InvalidMetadata::NotAnObject));
    }
}

#[test]
fn every_refused_redirect_uri_is_named_wherever_it_stands() {
    let good = "http://localhost:8787/callback";
    for uris in [
        ["evil://x", good, "https://a.example/#"],
        ["evil://x", "https://a.example/#", good],
    ] {
        let Err(InvalidMetadata::RedirectUri(refused)) = parse(&json!({"redirect_uris": uris}))
        else {
            panic!("expected refused redirect URIs");
        };
        let named: Vec<_> = refused
            .iter()
            .map(|error| (error.uri.as_str(), error.rule))
            .collect();
        assert_eq!(
            named,
            [
                ("evil://x", RedirectUriRule::NotAllowed),
                ("https://a.example/#", RedirectUriRule::Fragment),
            ]
        );
    }
}

#[test]
fn real_registrations_are_accepted() {
    let cursor = json!({
        "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback", "http://localhost:8787/callback"],
        "token_endpoint_auth_method": "none", "application_type": "web", "client_name": "Cursor",
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
    });
    effective(
        cursor.clone(),
        "redirect_uris",
        cursor["redirect_uris"].clone(),
    );
    effective(cursor.clone(), "application_type", json!("web"));
    effective(cursor, "token_endpoint_auth_method", json!("none"));
    let vscode = json!({
        "redirect_uris": ["https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect",
            "http://127.0.0.1/", "http://127.0.0.1:33418/"],
        "token_endpoint_auth_method": "none", "application_type": "native",
        "client_name": "Visual Studio Code", "response_types": ["code"],
        "grant_types": ["authorization_code", "refresh_token",
            "urn:ietf:params:oauth:grant-type:device_code"],
    });
    effective(
        vscode,
        "grant_types",
        json!(["authorization_code", "refresh_token"]),
    );
    let chatgpt = json!({
        "redirect_uris": ["https://chatgpt.com/connector/oauth/abc"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "none"],
        "jwks_uri": "https://chatgpt.com/oauth/jwks.json",
        "grant_types": ["authorization_code", "refresh_token"],
    });
    effective(chatgpt.clone(), "token_endpoint_auth_method", json!("none"));
    drops(chatgpt, "jwks_uri");
}

#[test]
fn the_authentication_method_is_chosen_or_negotiated() {
    let method = "token_endpoint_auth_method";
    let supported = "token_endpoint_auth_methods_supported";
    for name in ["none", "client_secret_basic", "client_secret_post"] {
        effective(with(json!({method: name})), method, json!(name));
        effective(
            with(json!({method: name, supported: ["none"]})),
            method,
            json!(name),
        );
        effective(with(json!({supported: ["x", name]})), method, json!(name));
    }
    effective(
        with(json!({method: "private_key_jwt", supported: ["none"]})),
        method,
        json!("none"),
    );
    for document in [
        with(json!({method: "private_key_jwt"})),
        with(json!({method: "private_key_jwt", "jwks": {"keys": []}})),
        with(json!({method: "client_secret_jwt"})),
        with(json!({method: "NONE"})),
        with(json!({supported: ["private_key_jwt"]})),
        with(json!({supported: []})),
        with(json!({method: 7})),
    ] {
        refuses(document, method);
    }
}

#[test]
fn grant_and_response_types_are_what_is_offered() {
    let kept = json!(["authorization_code"]);
    effective(
        with(json!({"grant_types": ["implicit", "authorization_code", "password"]})),
        "grant_types",
        kept,
    );
    for wrong in [
        json!([]),
        json!(["implicit"]),
        json!(["refresh_token"]),
        json!("authorization_code"),
        json!([1]),
    ] {
        refuses(with(json!({"grant_types": wrong})), "grant_types");
    }
    for wrong in [
        json!([]),
        json!(["token"]),
        json!(["code", "id_token"]),
        json!(["code token"]),
        json!("code"),
    ] {
        refuses(with(json!({"response_types": wrong})), "response_types");
    }
}

#[test]
fn pages_are_https_urls() {
    for member in ["client_uri", "logo_uri", "tos_uri", "policy_uri"] {
        effective(
            with(json!({member: "https://app.example/x"})),
            member,
            json!("https://app.example/x"),
        );
        for wrong in [
            json!("http://app.example"),
            json!("javascript:alert(1)"),
            json!("data:image/png;base64,AA"),
            json!("https://app.example/ x"),
            json!("https://a@app.example/"),
            json!("/logo.png"),
            json!(format!("https://app.example/{}", "a".repeat(2048))),
            json!(7),
        ] {
            refuses(with(json!({member: wrong})), member);
        }
    }
}

#[test]
fn names_lose_what_deceives() {
    effective(
        with(json!({"client_name": "  Go\u{202e}od\u{0}\u{200b} App\n"})),
        "client_name",
        json!("Good App"),
    );
    effective(
        with(json!({"client_name": "Приложение 应用"})),
        "client_name",
        json!("Приложение 应用"),
    );
    drops(with(json!({"client_name": "\u{feff} \t"})), "client_name");
    refuses(with(json!({"client_name": "a".repeat(201)})), "client_name");
    refuses(with(json!({"software_id": ["x"]})), "software_id");
}

#[test]
fn what_is_not_used_is_judged_but_not_kept() {
    drops(with(json!({"contacts": ["ada@example.com"]})), "contacts");
    drops(with(json!({"jwks": {"keys": []}})), "jwks");
    refuses(with(json!({"contacts": "ada@example.com"})), "contacts");
    refuses(with(json!({"jwks": "x"})), "jwks");
    refuses(
        with(json!({"jwks_uri": "http://169.254.169.254/"})),
        "jwks_uri",
    );
    refuses(
        with(json!({"jwks": {}, "jwks_uri": "https://app.example/jwks"})),
        "jwks",
    );
    refuses(with(json!({"scope": "a\"b"})), "scope");
    refuses(with(json!({"scope": "a ".repeat(2049)})), "scope");
    let statement = parse(&with(json!({"software_statement": "e30.e30."})));
    assert_eq!(statement, Err(InvalidMetadata::SoftwareStatement));
}

fn documents() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![Just(Value::Null), "\\PC{0,12}".prop_map(Value::from)];
    let page = || {
        prop_oneof![
            Just(Value::Null),
            "https://[a-z]{1,5}\\.example/[a-z?=]{0,5}".prop_map(Value::from)
        ]
    };
    let redirects = prop::sample::subsequence(
        vec![
            "http://localhost:1/cb",
            "http://127.0.0.1/",
            "cursor://x/y",
            "https://app.example/cb",
        ],
        1..=4,
    );
    let method = prop::sample::select(vec![
        Value::Null,
        json!("none"),
        json!("client_secret_basic"),
        json!("client_secret_post"),
    ]);
    let grants = prop::sample::select(vec![
        Value::Null,
        json!(["authorization_code"]),
        json!(["refresh_token", "authorization_code", "implicit"]),
    ]);
    (redirects, method, grants, text(), page(), page(), text(), prop::sample::select(vec!["", "read", "read write"]))
        .prop_map(|(redirects, method, grants, name, client_uri, logo_uri, software, scope)| json!({
            "redirect_uris": redirects, "token_endpoint_auth_method": method, "grant_types": grants,
            "client_name": name, "client_uri": client_uri, "logo_uri": logo_uri,
            "software_id": software, "scope": scope, "tos_uri": null,
        }))
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

proptest! {
    #[test]
    fn effective_metadata_parses_to_itself(document in documents()) {
        let parsed = parse(&document).expect("valid");
        let effective = Value::Object(parsed.effective());
        prop_assert!(!has_null(&effective), "{effective}");
        let again = parse(&effective).expect("still valid");
        prop_assert_eq!(Value::Object(again.effective()), effective);
        prop_assert_eq!(again.token_endpoint_auth_method, Some(parsed.auth_method()));
        let stored = serde_json::to_value(&parsed).expect("plain");
        prop_assert_eq!(&parse(&stored).expect("still valid"), &parsed);
        let read: ClientMetadata = serde_json::from_value(stored).expect("round trip");
        prop_assert_eq!(read, parsed);
    }
}

/// It is in the log for ever. What is not kept does not count.
#[test]
fn what_is_kept_of_a_registration_is_bounded() {
    let uris = |length: usize| {
        let uri = |n| format!("http://localhost/{n}/{}", "a".repeat(length));
        (10..20).map(uri).collect::<Vec<_>>()
    };
    let document = json!({"redirect_uris": uris(1500), "jwks": {"x": "a".repeat(20_000)}});
    parse(&document).expect("small enough");
    let error = parse(&json!({"redirect_uris": uris(1700)})).expect_err("too large");
    assert_eq!(error, InvalidMetadata::Size);
}
