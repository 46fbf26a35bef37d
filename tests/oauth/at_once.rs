//! Two people who answer one authorization at the same moment, and one person who answers several.

use futures_util::future::join_all;
use grantlog::vault::{FILE_NAME, MasterKeys, Vault};
use serde_json::Value;
use support::{Browser, Page, Pkce};

use crate::fake_provider::{Behaviour, Endpoint, Fault, Gate, User};
use crate::rig::Rig;

const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";

/// Which of them is recorded is chance; that nobody else's token is kept must not be.
#[tokio::test]
async fn a_grant_and_its_upstream_token_are_one_persons() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let data = rig.server.folder().join("data");
    let keys = MasterKeys::in_data_folder(&data).expect("the key file");
    let vault = Vault::open_read_only(&data.join(FILE_NAME), keys).expect("the vault");
    for round in 0..12 {
        let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
        let mut browser = Browser::new();
        let at_provider = rig.provider.at("/v1/authorize");
        let at_provider = browser.open(&url, at_provider.as_str()).await.url;
        // The same page of the provider twice, for two people.
        let mut people = [format!("alice-{round}"), format!("bob-{round}")];
        people.rotate_left(round % 2);
        let mut callbacks = Vec::new();
        for name in &people {
            rig.provider.user(User {
                sub: name.clone(),
                email: Some(format!("{name}@example.com")),
                ..User::default()
            });
            let callback = format!("{}/api/v1/oauth/callback/1", rig.server.url);
            let page = browser.open(at_provider.as_str(), &callback).await;
            callbacks.push(page.url.to_string());
        }
        let gate = Gate::shut();
        let held = Fault::Held(gate.clone());
        rig.provider.behave(Behaviour::At(Endpoint::Token, held));
        let mut other = browser.clone();
        let both = async {
            tokio::join!(
                browser.open(&callbacks[0], REDIRECT_URI),
                other.open(&callbacks[1], REDIRECT_URI),
            )
        };
        let open = async {
            gate.arrived(2).await;
            gate.open();
        };
        let ((one, two), ()) = tokio::join!(both, open);
        rig.provider.behave(Behaviour::WellBehaved);
        let sent_on = |page: &Page| page.url.as_str().starts_with(REDIRECT_URI);
        let sent_on = [one, two].iter().filter(|page| sent_on(page)).count();
        assert_eq!(sent_on, 1);

        let succeeded = rig.server.events("type=grant.login_succeeded").await;
        assert_eq!(succeeded.len(), round + 1);
        let newest = &succeeded[round];
        let grant = &newest["grant_id"];
        let logins = rig.server.list("/api/v1/logins").await;
        assert_eq!(
            (&logins[0]["grant_id"], &logins[0]["outcome"]),
            (grant, &Value::from("success"))
        );
        let email = logins[0]["email"].as_str().expect("an address");
        let name = email.strip_suffix("@example.com").expect("one of them");
        let id = grant.as_str().expect("an id").parse().expect("an id");
        let kept = vault.upstream(id).await.expect("read").expect("there");
        let access_token = kept.tokens.access_token.expose();
        assert!(
            access_token.starts_with(&format!("fake-access-{name}-")),
            "{name}: {access_token}"
        );
        assert_eq!(newest["subject"], kept.subject.to_string());
    }
}

/// Each puts what it records into a batch of its own, and a batch waits for all of its parts: that one of them waits for its turn
/// on a stream, which is held for a part of another batch, must not make all wait for ever.
#[tokio::test]
async fn the_first_logins_of_a_person_at_a_client_all_end() {
    const BROWSERS: u32 = 8;
    const ROUNDS: usize = 6;
    let rig = Rig::start().await;
    for round in 0..ROUNDS {
        let client = rig.client().await;
        rig.provider.user(User {
            sub: format!("carol-{round}"),
            ..User::default()
        });
        let mut returning = Vec::new();
        for _ in 0..BROWSERS {
            let mut browser = Browser::new();
            let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
            let callback = format!("{}/api/v1/oauth/callback/1", rig.server.url);
            let page = browser.open(&url, &callback).await;
            returning.push((browser, page.url.to_string()));
        }
        let gate = Gate::shut();
        let held = Fault::Held(gate.clone());
        rig.provider.behave(Behaviour::At(Endpoint::Token, held));
        let all = returning
            .iter_mut()
            .map(|(browser, url)| browser.open(url, REDIRECT_URI));
        let open = async {
            gate.arrived(BROWSERS).await;
            gate.open();
        };
        let (pages, ()) = tokio::join!(join_all(all), open);
        rig.provider.behave(Behaviour::WellBehaved);
        for page in pages {
            assert!(page.param("code").is_some(), "{}", page.url);
        }
    }
    for (name, expected) in [
        ("grant.login_succeeded", ROUNDS * BROWSERS as usize),
        ("subject.first_seen", ROUNDS),
        ("client.first_authorized", ROUNDS),
    ] {
        let events = rig.server.events(&format!("type={name}")).await;
        assert_eq!(events.len(), expected, "{name}");
    }
}
