//! Strings that want to be more than text, in everything a client can say.

use serde_json::json;
use support::Pkce;

use crate::rig::{REFUSE, Rig, param, request};
use crate::tab::Tab;

const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    r#""><img src=x onerror=alert(1)>"#,
    "'><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}}${7*7}</title><style>body{display:none}</style>",
    "\u{202e}evil\u{202c}\u{2066}\u{200b}\u{7f}",
];

/// The page is as it was written: no element that the server did not put there, and, since
/// Chromium would tell, nothing that tried to run or load.
async fn is_inert(tab: &Tab) {
    let strangers = "document.querySelectorAll('script, img, svg, iframe, style, object').length";
    assert_eq!(tab.evaluate(strangers).await, 0);
    let complaints = tab.complaints().await;
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[tokio::test]
async fn what_a_client_says_about_itself_is_shown_as_text() {
    let rig = Rig::start().await;
    let mut tab = rig.chromium.tab().await;
    for name in HOSTILE {
        let graphic = name.replace(|c: char| !c.is_ascii_graphic(), "");
        let client = rig.client_with(json!({
            "client_name": name,
            "redirect_uris": [rig.site.at("127.0.0.1", "/callback?a=%3Cscript%3E&b='%22")],
            "client_uri": format!("https://client.example/?{graphic}"),
            "logo_uri": format!("https://client.example/logo.svg?{graphic}"),
        }));
        let client = client.await;
        tab.open(&request(&client, name)).await;
        is_inert(&tab).await;
        let text = tab.text().await;
        let shown = name.replace(|c: char| c.is_control() || !c.is_ascii(), "");
        assert!(text.contains(&format!("Allow {shown} access?")), "{text}");
        assert!(text.contains("/callback?a=%3Cscript%3E&b='%22"), "{text}");
        assert!(!text.contains('\u{202e}'), "{text}");

        tab.click(REFUSE).await;
        let answer = tab.loaded(&rig.site.at("127.0.0.1", "/callback")).await;
        assert_eq!(param(&answer, "state"), name, "as it was sent");
    }
}

#[tokio::test]
async fn no_parameter_becomes_more_than_text() {
    let rig = Rig::start().await;
    let client = rig.client(&rig.site.at("127.0.0.1", "/callback")).await;
    let mut tab = rig.chromium.tab().await;
    for name in [
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
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
        "ui_locales",
        "error",
        "error_description",
        "x",
    ] {
        for value in [HOSTILE.concat(), "x".repeat(9000)] {
            let params = client.authorization(&Pkce::rfc7636()).with(name, &value);
            tab.open(&client.authorize_url(&params)).await;
            is_inert(&tab).await;
        }
    }
}

#[tokio::test]
async fn our_pages_load_nothing_but_their_style() {
    let rig = Rig::start().await;
    let client = rig.client_with(json!({
        "redirect_uris": [rig.site.at("127.0.0.1", "/callback")],
        "logo_uri": "https://client.example/logo.png",
    }));
    let mut tab = rig.chromium.tab().await;
    tab.open(&request(&client.await, "a state")).await;
    let consent = tab.evaluate("location.href").await;
    tab.open(&format!("{}/authorize", rig.proxy.issuer)).await;
    tab.open(&format!("{}?state=forged", rig.server.callback_url(1)))
        .await;
    is_inert(&tab).await;
    let style = format!("{}/assets/page.css", rig.server.url);
    for request in tab.requests() {
        let is_page = request.url == request.page;
        assert!(is_page || request.url == style, "{request:?}");
    }
    assert!(tab.requests().iter().any(|request| request.page == consent));
}
