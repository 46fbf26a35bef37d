//! What other sites and other people's browsers try.

use crate::rig::{ALLOW, Rig, param, request};

const SITES: [&str; 2] = ["evil.example", "127.0.0.1"];

#[tokio::test]
async fn no_page_of_ours_shows_in_a_frame_of_another_site() {
    let rig = Rig::start().await;
    let client = rig.client(&rig.site.at("127.0.0.1", "/callback")).await;
    let consent = request(&client, "a state");
    let error = format!("{}/authorize", rig.proxy.issuer);
    for host in SITES {
        for (framed, shows) in [
            (consent.clone(), false),
            (error.clone(), false),
            (rig.site.at(host, "/"), true),
        ] {
            let html = format!(r#"<iframe src="{}">"#, framed.replace('&', "&amp;"));
            let mut tab = rig.chromium.tab().await;
            tab.open(&rig.site.page(host, &html)).await;
            let complaints = tab.complaints().await.join("\n");
            let is_blocked = complaints.contains("frame-ancestors 'none'");
            assert_eq!(is_blocked, !shows, "{framed} in {host}: {complaints}");
        }
    }
}

/// Even with the transaction of the person's own page, which no other site can read.
#[tokio::test]
async fn a_form_of_another_site_decides_nothing() {
    let rig = Rig::start().await;
    let client = rig.client(&rig.site.at("127.0.0.1", "/callback")).await;
    let mut own = rig.chromium.tab().await;
    own.open(&request(&client, "a state")).await;
    let transaction = own
        .evaluate("document.querySelector('[name=transaction]').value")
        .await;
    let consent = format!("{}/consent", rig.proxy.issuer);
    let html = format!(
        "<form method=post action='{consent}'>
            <input name=transaction value='{}'><button name=decision value=approve>Win",
        transaction.as_str().unwrap()
    );
    for host in SITES {
        let mut tab = rig.chromium.tab().await;
        tab.open(&rig.site.page(host, &html)).await;
        tab.click(ALLOW).await;
        tab.loaded(&consent).await;
        assert_eq!(tab.statuses("POST", &consent, 1).await, [403], "{host}");
    }
    own.click(ALLOW).await;
    rig.log_in(&mut own).await;
    param(&own.loaded(&client.redirect_uri).await, "code");
}

/// Somebody approves in their own browser and has another person open the rest.
#[tokio::test]
async fn a_login_begun_in_another_browser_ends_on_a_warning() {
    let rig = Rig::start().await;
    let client = rig.client(&rig.site.at("127.0.0.1", "/callback")).await;
    let mut attacker = rig.chromium.tab().await;
    attacker.open(&request(&client, "a state")).await;
    attacker.click(ALLOW).await;
    let at_provider = attacker.sent_to(&rig.provider.issuer).await;

    let mut victim = rig.chromium.stranger().await;
    victim
        .call("Page.navigate", serde_json::json!({ "url": at_provider }))
        .await;
    rig.log_in(&mut victim).await;
    victim.loaded(&rig.server.callback_url(1)).await;
    let text = victim.text().await;
    assert!(text.contains("began in another browser"), "{text}");
    assert!(rig.site.received().is_empty());
    assert!(rig.server.events("type=grant.*").await.is_empty());
}
