//! Callbacks that come again, as from a browser whose connection broke: the provider's code is spent
//! by then, and the login must not be lost with the connection.

use support::{Browser, Pkce, Tokens};

use crate::callback::{REDIRECT_URI, callback_of};
use crate::fake_provider::{Behaviour, Endpoint, Fault, Gate};
use crate::rig::Rig;

#[tokio::test]
async fn a_login_whose_browser_went_away_is_there_when_it_comes_back() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut browser = Browser::new();
    let url = callback_of(&rig, &mut browser, &client).await;
    let gate = Gate::shut();
    let held = Fault::Held(gate.clone());
    rig.provider.behave(Behaviour::At(Endpoint::Token, held));
    let (mut gone, at) = (browser.clone(), url.clone());
    let lost = tokio::spawn(async move { gone.open(&at, REDIRECT_URI).await });
    gate.arrived(1).await;
    lost.abort();
    assert!(lost.await.expect_err("it went away").is_cancelled());
    // The server has looked at its connections since.
    assert!(rig.server.list("/api/v1/logins").await.is_empty());
    gate.open();
    let mut other = browser.clone();
    let back = browser.open(&url, REDIRECT_URI).await;
    let code = back.param("code").expect("a code");
    assert!(back.url.as_str().starts_with(REDIRECT_URI), "{back:?}");
    assert_eq!(rig.provider.requests_to(Endpoint::Token).len(), 1);
    let tokens = Tokens::of(&client.redeem(&code, &Pkce::rfc7636()).await.expect(200));
    let logins = rig.server.list("/api/v1/logins").await;
    assert_eq!(logins.len(), 1, "{logins:#?}");
    assert_eq!(logins[0]["outcome"], "success");

    // A client that was brought its code again might redeem it again, which would end the grant.
    let late = other.open(&url, REDIRECT_URI).await;
    assert_eq!(late.status, 400);
    assert!(
        late.body.contains("already been completed"),
        "{}",
        late.body
    );
    client.refresh(&tokens.refresh).await.expect(200);
}

#[tokio::test]
async fn who_repeats_a_callback_is_sent_to_the_same_place() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    for behaviour in [
        Behaviour::WellBehaved,
        Behaviour::At(Endpoint::Token, Fault::Status(500)),
    ] {
        let mut browser = Browser::new();
        let url = callback_of(&rig, &mut browser, &client).await;
        rig.provider.behave(behaviour);
        let before = rig.provider.requests_to(Endpoint::Token).len();
        let (mut two, mut three) = (browser.clone(), browser.clone());
        let (one, two) = tokio::join!(
            browser.open(&url, REDIRECT_URI),
            two.open(&url, REDIRECT_URI)
        );
        let three = three.open(&url, REDIRECT_URI).await;
        assert!(one.url.as_str().starts_with(REDIRECT_URI), "{one:?}");
        assert_eq!((&one.url, &one.url), (&two.url, &three.url));
        let asked = rig.provider.requests_to(Endpoint::Token).len() - before;
        assert_eq!(asked, 1);
        rig.provider.behave(Behaviour::WellBehaved);
    }
    // What else a browser of the same person brings is not the same callback.
    let mut browser = Browser::new();
    let url = callback_of(&rig, &mut browser, &client).await;
    let mut other = browser.clone();
    browser.open(&url, REDIRECT_URI).await;
    let page = other.open(&format!("{url}&more"), REDIRECT_URI).await;
    assert_eq!(page.status, 400);
}
