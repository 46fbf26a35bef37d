//! Whether everybody can use the pages: with a screen reader, on a small screen, in the dark, and
//! with nothing but a keyboard.

use std::path::Path;

use serde_json::{Value, json};

use crate::rig::{Rig, request};
use crate::tab::Tab;

/// Checks a page on a screen of 320 pixels, in light and dark, with axe-core by Deque: the rules
/// of WCAG that a program can check.
pub async fn is_accessible(tab: &Tab) {
    let small = json!({ "width": 320, "height": 480, "deviceScaleFactor": 1, "mobile": true });
    tab.call("Emulation.setDeviceMetricsOverride", small).await;
    let width = tab.evaluate("document.documentElement.scrollWidth").await;
    assert_eq!(width, 320, "it scrolls sideways");
    let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/node_modules/axe-core");
    let axe = std::fs::read_to_string(axe.join("axe.min.js"));
    tab.evaluate(&axe.expect("axe-core is there: run scripts/test, which installs it"))
        .await;
    for scheme in ["light", "dark"] {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        tab.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        )
        .await;
        // The browser's own background is not in any style, where axe-core looks for it.
        let findings = "document.documentElement.style.background = 'Canvas';
            axe.run().then(({ violations, incomplete }) => [...violations, ...incomplete].map(
                ({ id, nodes }) => [id, nodes.map(node => [node.html, node.failureSummary])]))";
        assert_eq!(tab.evaluate(findings).await, json!([]), "in {scheme}");
    }
    assert_eq!(tab.evaluate("document.documentElement.lang").await, "en");
    assert_ne!(tab.evaluate("document.title").await, "");
}

/// Consent for a client with the longest of everything, and an error.
async fn pages(rig: &Rig) -> [String; 2] {
    let path = format!("/{}", "x".repeat(1000));
    let client = rig.client_with(json!({
        "client_name": "W".repeat(200),
        "redirect_uris": [rig.site.at("127.0.0.1", &path)],
    }));
    let consent = request(&client.await, "a state");
    [consent, format!("{}/authorize", rig.proxy.issuer)]
}

#[tokio::test]
async fn pages_are_accessible() {
    let rig = Rig::start().await;
    let mut tab = rig.chromium.tab().await;
    for page in pages(&rig).await {
        tab.open(&page).await;
        is_accessible(&tab).await;
    }
}

#[tokio::test]
async fn a_keyboard_is_enough_to_decide() {
    let rig = Rig::start().await;
    let client = rig.client(&rig.site.at("127.0.0.1", "/callback")).await;
    let mut tab = rig.chromium.tab().await;
    tab.open(&request(&client, "a state")).await;
    let mut reached = Vec::new();
    for _ in 0..2 {
        tab.press("Tab").await;
        reached.push(focused(&tab).await);
    }
    assert_eq!(reached, [json!("Allow"), json!("Refuse")]);
    tab.press("Enter").await;
    let refused = tab.loaded(&client.redirect_uri).await;
    assert_eq!(crate::rig::param(&refused, "error"), "access_denied");

    tab.open(&request(&client, "a state")).await;
    tab.press("Tab").await;
    assert_eq!(focused(&tab).await, "Allow");
    tab.press("Enter").await;
    tab.loaded(&rig.provider.issuer).await;
}

/// The name of what has the focus, which must be visible.
async fn focused(tab: &Tab) -> Value {
    let outline = tab
        .evaluate("getComputedStyle(document.activeElement).outlineStyle")
        .await;
    assert_ne!(outline, "none");
    tab.evaluate("document.activeElement.innerText").await
}
