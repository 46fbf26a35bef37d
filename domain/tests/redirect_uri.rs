//! Which redirect URIs may be registered, and which requests reach them.

use domain::redirect_uri::{AllowedRedirects, RedirectUri, RedirectUriRule};
use proptest::prelude::*;

#[track_caller]
fn accepts(uri: &str) {
    let parsed: RedirectUri = uri.parse().expect("valid");
    assert_eq!(parsed.as_str(), uri, "kept byte for byte");
}

#[track_caller]
fn refuses(uri: &str, rule: RedirectUriRule) {
    assert_eq!(
        uri.parse::<RedirectUri>().expect_err("broken").rule,
        rule,
        "{uri:?}"
    );
}

#[track_caller]
fn allows(patterns: &[&str], uri: &str, expected: bool) {
    let allowed = AllowedRedirects::new(patterns.iter().copied());
    allowed.check().expect("valid");
    let answer = allowed.admit(uri).map_err(|error| error.rule);
    let refused = Err(RedirectUriRule::NotAllowed);
    assert_eq!(
        answer.map(|_| ()),
        if expected { Ok(()) } else { refused },
        "{patterns:?} {uri}"
    );
}

#[track_caller]
fn matches(registered: &str, requested: &str, expected: bool) {
    let registered: RedirectUri = registered.parse().expect("valid");
    let found = requested
        .parse::<RedirectUri>()
        .is_ok_and(|requested| requested.matches_registered(&registered));
    assert_eq!(found, expected, "{registered} {requested:?}");
}

#[test]
fn accepts_what_real_clients_send() {
    for uri in [
        "https://claude.ai/api/mcp/auth_callback",
        "https://chatgpt.com/connector/oauth/abc",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://www.cursor.com/agents/mcp/oauth/callback",
        "vscode://vscode.github-authentication/did-authenticate",
        "com.example.app:/cb",
        "http://127.0.0.1:33418",
        "http://127.0.0.1/",
        "http://[::1]:9/cb",
        "http://localhost:8787/callback",
        "https://your-app.com:8443/callback?tenant=1&x=%2F",
    ] {
        accepts(uri);
    }
}

#[test]
fn refuses_what_is_not_an_absolute_uri_with_a_host() {
    for uri in ["", "/cb", "//host/cb", "example.com", "https:", "https://"] {
        let rule = uri.parse::<RedirectUri>().expect_err("broken").rule;
        assert!(
            matches!(rule, RedirectUriRule::Absolute | RedirectUriRule::Host),
            "{uri:?} {rule:?}"
        );
    }
    for uri in [
        "https:///cb",
        "https:/host/cb",
        "https:host",
        "https:////host/cb",
    ] {
        refuses(uri, RedirectUriRule::Host);
    }
}

#[test]
fn refuses_characters_that_parsers_repair() {
    for uri in [
        " https://a.example/cb",
        "https://a.example/cb ",
        "https://a.example/c b",
        "https://a.example/cb\n",
        "\tjavascript:alert(1)",
        "java\nscript:alert(1)",
        "\0https://a.example",
        "https:\\\\a.example\\cb",
        "https://ex\u{e4}mple.com/cb",
        "https://a.example/<script>",
    ] {
        refuses(uri, RedirectUriRule::Characters);
    }
}

#[test]
fn refuses_fragments_wildcards_userinfo_and_length() {
    refuses("https://a.example/cb#x", RedirectUriRule::Fragment);
    refuses("https://a.example/cb#", RedirectUriRule::Fragment);
    refuses("cursor://a/cb#x", RedirectUriRule::Fragment);
    refuses("https://*.example/cb", RedirectUriRule::Wildcard);
    refuses("https://a.example/*", RedirectUriRule::Wildcard);
    refuses("http://localhost:*", RedirectUriRule::Wildcard);
    refuses(
        "https://good.example@evil.example/",
        RedirectUriRule::Userinfo,
    );
    refuses(
        "https://localhost:x@evil.example/",
        RedirectUriRule::Userinfo,
    );
    refuses("http://localhost:80@localhost/", RedirectUriRule::Userinfo);
    refuses("https://@evil.example/", RedirectUriRule::Host);
    refuses("cursor://user@host/cb", RedirectUriRule::Userinfo);
    let long = format!("https://a.example/{}", "a".repeat(2048));
    refuses(&long, RedirectUriRule::Length);
}

#[test]
fn refuses_plain_http_that_leaves_the_device() {
    for uri in [
        "http://a.example/cb",
        "http://localhost.evil.com/cb",
        "http://127.0.0.1.evil.com/",
        "http://0.0.0.0/cb",
        "http://127.0.0.2/cb",
        "http://localhost./cb",
        "http://[::]/cb",
        "http://[::ffff:127.0.0.1]/cb",
    ] {
        let rule = uri.parse::<RedirectUri>().expect_err("broken").rule;
        assert!(
            matches!(rule, RedirectUriRule::PlainHttp | RedirectUriRule::Host),
            "{uri} {rule:?}"
        );
    }
    for uri in [
        "http://127.1/cb",
        "http://0x7f.0.0.1/",
        "http://2130706433/",
        "http://loc%61lhost/",
    ] {
        refuses(uri, RedirectUriRule::Host);
    }
}

#[test]
fn refuses_dangerous_schemes_in_any_case() {
    for uri in [
        "javascript:alert(1)",
        "JavaScript://a.example/%0aalert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "blob:https://a.example/1",
        "about:blank",
        "INTENT://a#Intent",
        "ms-msdt:/id",
        "Ms-Settings:x",
        "view-source:https://a.example",
    ] {
        let rule = uri.parse::<RedirectUri>().expect_err("broken").rule;
        assert!(
            matches!(rule, RedirectUriRule::Scheme | RedirectUriRule::Fragment),
            "{uri} {rule:?}"
        );
    }
}

#[test]
fn without_a_list_only_loopback_is_allowed() {
    for uri in [
        "http://localhost:1/cb",
        "http://127.0.0.1/",
        "http://[::1]:9/x?y",
    ] {
        allows(&[], uri, true);
    }
    for uri in [
        "https://a.example/cb",
        "cursor://x/y",
        "com.example.app:/cb",
    ] {
        allows(&[], uri, false);
    }
}

#[test]
fn a_list_decides_alone() {
    let list = [
        "https://your-app.com/callback",
        "http://localhost:*",
        "cursor://*",
        "com.example.app:/cb",
    ];
    for uri in [
        "https://your-app.com/callback",
        "http://localhost:8787/callback",
        "http://localhost",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "CURSOR:/x",
        "com.example.app:/cb",
    ] {
        allows(&list, uri, true);
    }
    for uri in [
        "https://your-app.com/callback/",
        "https://your-app.com/callback?x",
        "https://YOUR-APP.com/callback",
        "http://127.0.0.1:8787/callback",
        "https://localhost:8787/callback",
        "evil://x",
        "cursors://x",
        "com.example.app:/other",
    ] {
        allows(&list, uri, false);
    }
    allows(
        &["http://[::1]:*/*", "https://a.example/cb"],
        "http://[::1]:7/x",
        true,
    );
    allows(&["https://a.example/cb"], "http://localhost:7/x", false);
}

#[test]
fn a_list_without_meaning_is_refused() {
    for (pattern, rule) in [
        ("https://*.example.com/cb", RedirectUriRule::Wildcard),
        ("https://a.example/*", RedirectUriRule::Wildcard),
        ("https://*", RedirectUriRule::Wildcard),
        ("http://evil.example:*", RedirectUriRule::Wildcard),
        ("http://a.example/cb", RedirectUriRule::PlainHttp),
        ("javascript:*", RedirectUriRule::Scheme),
        ("MS-msdt:/*", RedirectUriRule::Scheme),
        ("*", RedirectUriRule::Wildcard),
        ("cursor", RedirectUriRule::Absolute),
    ] {
        let error = AllowedRedirects::new(["cursor://*", pattern])
            .check()
            .expect_err("broken");
        assert_eq!((error.pattern.as_str(), error.rule), (pattern, rule));
        let admitted = AllowedRedirects::new([pattern]).admit("https://a.example/cb");
        assert!(admitted.is_err(), "{pattern} covers nothing");
    }
}

#[test]
fn the_rule_and_the_uri_are_named_without_their_controls() {
    let error = "evil\u{202e}\n".parse::<RedirectUri>().expect_err("broken");
    assert_eq!(
        error.to_string(),
        "expected only the characters of a URI, without spaces or controls, found evil\\u{202e}\\n"
    );
}

#[test]
fn https_and_custom_schemes_compare_byte_for_byte() {
    let registered = "https://good.com/cb";
    matches(registered, registered, true);
    for requested in [
        "https://good.com/cb/",
        "https://good.com/CB",
        "https://GOOD.com/cb",
        "https://good.com:443/cb",
        "https://good.com/cb%2F",
        "https://good.com/cb/../cb",
        "https://good.com/cb?x=1",
        "https://good.com/cb#x",
        "https://good.com.evil/cb",
        "https://good.evil.com/cb",
        "https://good.com@evil.com/cb",
        "",
    ] {
        matches(registered, requested, false);
    }
    matches("https://good.com/cb?x=1", "https://good.com/cb", false);
    matches("https://localhost:1/cb", "https://localhost:2/cb", false);
    matches("cursor://localhost:1/cb", "cursor://localhost:2/cb", false);
}

#[test]
fn only_the_port_of_a_loopback_uri_is_free() {
    let registered = "http://127.0.0.1:33418/cb?a=b";
    for requested in [
        registered,
        "http://127.0.0.1/cb?a=b",
        "http://127.0.0.1:1/cb?a=b",
    ] {
        matches(registered, requested, true);
    }
    for requested in [
        "http://localhost:33418/cb?a=b",
        "http://[::1]:33418/cb?a=b",
        "https://127.0.0.1:33418/cb?a=b",
        "http://127.0.0.1:33418/cb",
        "http://127.0.0.1:33418/cb/?a=b",
        "http://127.0.0.1:33418/x/../cb?a=b",
        "http://127.0.0.1:33418@evil.com/cb?a=b",
        "http://127.0.0.1:99999/cb?a=b",
        "http://127.0.0.1:1x/cb?a=b",
    ] {
        matches(registered, requested, false);
    }
    matches("http://[::1]/cb", "http://[::1]:4/cb", true);
    matches("http://localhost", "http://localhost:4", true);
    matches("http://localhost", "http://localhost:4/", false);
}

/// The client would find them twice, and might believe the wrong one (RFC 6749 §3.1).
#[test]
fn what_answers_carry_is_not_registered() {
    let allowed = AllowedRedirects::new(["http://localhost:*", "cursor://*", "com.example:/*"]);
    for uri in [
        "http://localhost/cb?code=x",
        "http://localhost/cb?a=b&state",
        "http://localhost/cb?%69ss=https://evil.example",
        "cursor://cb?error=x",
        "com.example:/cb?error_description=x",
    ] {
        let refused = allowed.admit(uri).expect_err("twice").rule;
        assert_eq!(refused, RedirectUriRule::AnswerParameter, "{uri}");
        // What was registered before goes on.
        accepts(uri);
    }
    for uri in [
        "http://localhost/cb?tenant=code&State=x",
        "http://localhost/code=x",
    ] {
        allowed.admit(uri).expect("its own");
    }
}

#[test]
fn a_person_is_shown_where_the_answer_goes() {
    for (uri, shown) in [
        ("https://app.example:8443/cb?x", "app.example"),
        ("http://[::1]:9/cb", "[::1]"),
        ("cursor://anysphere.cursor-mcp/oauth/callback", "cursor:"),
        ("com.example.app:/cb", "com.example.app:"),
    ] {
        let parsed: RedirectUri = uri.parse().expect("valid");
        assert_eq!(parsed.destination(), shown);
    }
}

fn loopback() -> impl Strategy<Value = (String, Option<u16>, String)> {
    (
        prop::sample::select(vec!["localhost", "127.0.0.1", "[::1]"]),
        any::<Option<u16>>(),
        "(/[a-z0-9:@%._-]{0,6}){0,3}(\\?[a-z0-9:=&/-]{0,8})?",
    )
        .prop_map(|(host, port, rest)| (host.to_owned(), port, rest))
}

fn written((host, port, rest): &(String, Option<u16>, String)) -> String {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("http://{host}{port}{rest}")
}

proptest! {
    #[test]
    fn a_loopback_match_is_never_wider_than_the_port(a in loopback(), b in loopback(), same in any::<bool>()) {
        let b = if same { (a.0.clone(), b.1, a.2.clone()) } else { b };
        let registered: RedirectUri = written(&a).parse().expect("valid");
        let requested: RedirectUri = written(&b).parse().expect("valid");
        let equal_but_port = a.0 == b.0 && a.2 == b.2;
        prop_assert_eq!(requested.matches_registered(&registered), equal_but_port);
    }

    #[test]
    fn nothing_but_the_same_bytes_matches_elsewhere(
        scheme in "https|cursor|com\\.example",
        a in "[a-z]{1,3}(:[1-9][0-9]{0,3})?(/[a-z]{0,2}){0,2}",
        b in "[a-z]{1,3}(:[1-9][0-9]{0,3})?(/[a-z]{0,2}){0,2}",
    ) {
        let registered: RedirectUri = format!("{scheme}://{a}").parse().expect("valid");
        let requested: RedirectUri = format!("{scheme}://{b}").parse().expect("valid");
        prop_assert_eq!(requested.matches_registered(&registered), a == b);
    }

    #[test]
    fn any_text_is_judged_without_panic(text in "\\PC{0,40}", scheme in "(https?://|http://localhost:|cursor:)?") {
        let text = format!("{scheme}{text}");
        let _ = AllowedRedirects::new([text.as_str()]).check();
        let _ = AllowedRedirects::default().admit(&text);
    }
}
