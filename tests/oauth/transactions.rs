//! What a step of the protocol costs the stores: durable commits, as `/metrics` counts them.

use support::{Browser, Client, Pkce, Server, Tokens};

use crate::rig::Rig;

/// Commits of log and vault so far, and how many entries are sealed.
async fn commits(server: &Server) -> (u64, u64) {
    let url = format!("{}/metrics", server.ops_url);
    let answer = support::plain_http().get(url).send().await;
    let text = answer.expect("an answer").text().await.expect("text");
    let metric = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        let value = value.unwrap_or_else(|| panic!("no {name}in {text}"));
        value.parse::<u64>().expect("a number")
    };
    let store = |store| {
        metric(&format!(
            "grantlog_store_transactions_total{{store=\"{store}\"}} "
        ))
    };
    let sealed = metric("grantlog_log_sealed_position ");
    (store("log") + store("vault"), sealed)
}

/// Takes a step that may commit so often. Entries are sealed meanwhile, in a transaction that is no step's.
async fn step<T>(rig: &Rig, name: &str, most: u64, taken: impl Future<Output = T>) -> T {
    let (before, sealed_before) = commits(&rig.server).await;
    let outcome = taken.await;
    let (after, sealed) = commits(&rig.server).await;
    let (made, sealing) = (after - before, u64::from(sealed > sealed_before));
    assert!(
        made <= most + sealing,
        "{name}: {made} transactions, {sealing} of them to seal"
    );
    outcome
}

async fn log_in(rig: &Rig, client: &Client) -> String {
    let mut browser = Browser::new();
    let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
    let callback = format!("{}/api/v1/oauth/callback/1", rig.server.url);
    let asking = browser.open(&url, &callback);
    let back = step(rig, "authorize", 0, asking).await.url.to_string();
    let returning = browser.open(&back, &client.redirect_uri);
    let page = step(rig, "callback", 2, returning).await;
    page.param("code").expect("a code")
}

#[tokio::test]
async fn no_step_takes_more_than_two_transactions() {
    let rig = Rig::start().await;
    let registering = rig.proxy.register(support::confidential_client());
    let client = step(&rig, "register", 1, registering).await;
    // The first time, that a person and a client were seen are facts of their own beside the grant's.
    for _ in 0..2 {
        let code = log_in(&rig, &client).await;
        let redeeming = async { client.redeem(&code, &Pkce::rfc7636()).await };
        let answer = step(&rig, "redeem", 1, redeeming).await;
        let first = Tokens::of(&answer.expect(200));
        let refreshing = client.refresh(&first.refresh);
        let answer = step(&rig, "refresh", 1, refreshing).await;
        let second = Tokens::of(&answer.expect(200));
        let introspecting = client.introspect(&second.access);
        step(&rig, "introspect", 0, introspecting).await.expect(200);
        assert!(step(&rig, "first use", 1, rig.admits(&second.access)).await);
        assert!(step(&rig, "second use", 0, rig.admits(&second.access)).await);
        let revoking = client.revoke(&second.refresh);
        step(&rig, "revoke", 2, revoking).await.expect(200);
    }
}
