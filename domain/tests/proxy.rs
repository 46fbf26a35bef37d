//! The terms of a proxy: what they may be, what holds where they say nothing, and that only a
//! difference is recorded.

mod support;

use chrono::TimeDelta;
use domain::Timestamp;
use domain::grant::TokenPolicy;
use domain::id::ProviderId;
use domain::key::Algorithm;
use domain::proxy::{Command, Configured, Event, Proxy, Removed, Rule, Settings, UpstreamAuth};
use domain::redirect_uri::AllowedRedirects;
use domain::scope::Scope;
use proptest::prelude::*;
use support::{after, given};
use uuid::Uuid;

const DAY_S: u32 = 86_400;
const TEN_YEARS_S: u32 = 3650 * DAY_S;

fn settings() -> Settings {
    Settings {
        name: "files".to_owned(),
        upstream_url: "http://127.0.0.1:3000/mcp".parse().expect("valid"),
        enabled: true,
        provider_id: ProviderId(1),
        allowed_redirects: AllowedRedirects::default(),
        require_consent: true,
        scopes: None,
        default_scopes: None,
        required_scopes: Scope::default(),
        access_token_s: 3600,
        refresh_token_s: 30 * DAY_S,
        grant_s: 365 * DAY_S,
        refresh_retry_s: 600,
        token_alg: Algorithm::HS256,
        upstream_auth: UpstreamAuth::None,
    }
}

fn settings_with(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings();
    change(&mut settings);
    settings
}

fn configured(settings: Settings) -> Configured {
    Configured {
        settings,
        private_version: None,
    }
}

fn add(settings: Settings) -> Command {
    Command::Add {
        settings: Box::new(settings),
        private_version: None,
        provider_is_known: true,
    }
}

/// A change that was made of the first terms.
fn change(next: Settings, private_version: Option<Uuid>) -> Command {
    Command::Change {
        from: Box::new(configured(settings())),
        settings: Box::new(next),
        private_version,
        provider_is_known: true,
    }
}

fn added() -> Event {
    Event::Added(Box::new(configured(settings())))
}

fn changed(to: Configured) -> Event {
    Event::Changed(Box::new(to))
}

fn removed() -> Event {
    Event::Removed(Removed {})
}

fn scope(text: &str) -> Scope {
    text.parse().expect("valid")
}

/// New and changed terms are judged alike.
#[track_caller]
fn check_refused(change_settings: impl FnOnce(&mut Settings), rule: Rule) {
    let bad = settings_with(change_settings);
    given::<Proxy>(&[])
        .when(add(bad.clone()))
        .then_refused(rule.clone());
    given::<Proxy>(&[added()])
        .when(change(bad, None))
        .then_refused(rule);
}

#[track_caller]
fn check_accepted(change_settings: impl FnOnce(&mut Settings)) {
    let good = settings_with(change_settings);
    given::<Proxy>(&[])
        .when(add(good.clone()))
        .then(&[Event::Added(Box::new(configured(good)))]);
}

#[test]
fn a_number_is_given_out_once() {
    check_accepted(|_| {});
    for history in [vec![added()], vec![added(), removed()]] {
        given::<Proxy>(&history)
            .when(add(settings()))
            .then_refused(Rule::Exists);
    }
}

#[test]
fn only_a_difference_is_a_change() {
    given::<Proxy>(&[added()])
        .when(change(settings(), None))
        .then(&[]);
    let off = settings_with(|s| s.enabled = false);
    given::<Proxy>(&[added()])
        .when(change(off.clone(), None))
        .then(&[changed(configured(off))]);
    let private_version = Some(Uuid::from_u128(1));
    given::<Proxy>(&[added()])
        .when(change(settings(), private_version))
        .then(&[changed(Configured {
            settings: settings(),
            private_version,
        })]);
}

#[test]
fn the_last_change_holds() {
    let off = configured(settings_with(|s| s.enabled = false));
    let state = after::<Proxy>(&[added(), changed(off.clone())]);
    assert_eq!(state.configured(), Some(&off));
    let history = [added(), changed(off.clone())];
    let outdated = settings_with(|s| s.name = "other".to_owned());
    given::<Proxy>(&history)
        .when(change(outdated.clone(), None))
        .then_refused(Rule::Outdated);
    let current = Command::Change {
        from: Box::new(off.clone()),
        settings: Box::new(outdated.clone()),
        private_version: None,
        provider_is_known: true,
    };
    given::<Proxy>(&history)
        .when(current)
        .then(&[changed(configured(outdated))]);
    // It is so already, whoever did it.
    given::<Proxy>(&history)
        .when(change(off.settings, None))
        .then(&[]);
}

#[test]
fn what_is_not_there_is_neither_changed_nor_removed() {
    given::<Proxy>(&[added()])
        .when(Command::Remove)
        .then(&[removed()]);
    for history in [vec![], vec![added(), removed()]] {
        for command in [Command::Remove, change(settings(), None)] {
            given::<Proxy>(&history)
                .when(command)
                .then_refused(Rule::Unknown);
        }
        assert_eq!(after::<Proxy>(&history).configured(), None);
    }
}

#[test]
fn its_provider_must_exist() {
    let unknown = |is_new: bool| {
        let (settings, private_version, provider_is_known) = (Box::new(settings()), None, false);
        if is_new {
            Command::Add {
                settings,
                private_version,
                provider_is_known,
            }
        } else {
            Command::Change {
                from: Box::new(configured(*settings.clone())),
                settings,
                private_version,
                provider_is_known,
            }
        }
    };
    given::<Proxy>(&[])
        .when(unknown(true))
        .then_refused(Rule::UnknownProvider);
    given::<Proxy>(&[added()])
        .when(unknown(false))
        .then_refused(Rule::UnknownProvider);
}

#[test]
fn a_name_shows() {
    for name in ["", "  ", "a\nb", "files\u{202e}", &"a".repeat(201)] {
        check_refused(|s| s.name = name.to_owned(), Rule::Name);
    }
    check_accepted(|s| s.name = "ä".repeat(200));
}

#[test]
fn an_upstream_is_an_http_url_without_credentials_or_fragment() {
    for url in [
        "ftp://127.0.0.1/mcp",
        "file:///mcp",
        "data:text/plain,mcp",
        "http://user@127.0.0.1/mcp",
        "http://user:secret@127.0.0.1/mcp",
        "http://:secret@127.0.0.1/mcp",
        "http://127.0.0.1/mcp#a",
        "http://127.0.0.1/mcp#",
    ] {
        check_refused(
            |s| s.upstream_url = url.parse().expect("a URL"),
            Rule::UpstreamUrl,
        );
    }
    for url in ["https://mcp.example", "http://[::1]:3000/a/mcp?tenant=1"] {
        check_accepted(|s| s.upstream_url = url.parse().expect("a URL"));
    }
}

#[test]
fn lifetimes_have_bounds() {
    for s_ in [0, DAY_S + 1, u32::MAX] {
        check_refused(|s| s.access_token_s = s_, Rule::AccessTokenSeconds);
    }
    for s_ in [0, TEN_YEARS_S + 1, u32::MAX] {
        check_refused(|s| s.refresh_token_s = s_, Rule::RefreshTokenSeconds);
        check_refused(|s| s.grant_s = s_, Rule::GrantSeconds);
    }
    for s_ in [DAY_S + 1, u32::MAX] {
        check_refused(|s| s.refresh_retry_s = s_, Rule::RefreshRetrySeconds);
    }
    check_accepted(|s| {
        (s.access_token_s, s.refresh_token_s) = (1, 1);
        (s.grant_s, s.refresh_retry_s) = (1, 0);
    });
    check_accepted(|s| {
        (s.access_token_s, s.refresh_token_s) = (DAY_S, TEN_YEARS_S);
        (s.grant_s, s.refresh_retry_s) = (TEN_YEARS_S, DAY_S);
    });
}

#[test]
fn lifetimes_are_seconds() {
    let settings = settings();
    assert_eq!(settings.grant_lifetime(), TimeDelta::days(365));
    assert_eq!(
        settings.token_policy(),
        TokenPolicy {
            access_token: TimeDelta::hours(1),
            refresh_token: TimeDelta::days(30),
            refresh_retry: TimeDelta::minutes(10),
        }
    );
    assert_eq!(
        Timestamp::UNIX_EPOCH.checked_add_signed(TimeDelta::seconds(TEN_YEARS_S.into())),
        Timestamp::UNIX_EPOCH.checked_add_days(chrono::Days::new(3650)),
        "the longest lifetime is an instant that can be computed"
    );
}

#[test]
fn default_scopes_are_among_the_scopes() {
    check_refused(
        |s| (s.scopes, s.default_scopes) = (Some(scope("read write")), Some(scope("read admin"))),
        Rule::DefaultScopes,
    );
    check_accepted(|s| {
        (s.scopes, s.default_scopes) = (Some(scope("read write")), Some(scope("read")));
    });
    // Without scopes of its own a proxy takes its provider's, which are known elsewhere.
    check_accepted(|s| s.default_scopes = Some(scope("read")));
}

#[test]
fn every_allowed_redirect_says_something() {
    let list = |entry: &str| AllowedRedirects::new(["http://localhost:*", entry]);
    let bad = list("https://*.example/callback");
    let rule = bad.check().expect_err("a wildcard").into();
    check_refused(|s| s.allowed_redirects = bad, rule);
    check_accepted(|s| s.allowed_redirects = list("cursor://*"));
}

#[test]
fn where_a_proxy_says_nothing_of_scopes_its_provider_speaks() {
    let provider = scope("openid email");
    let silent = settings();
    assert_eq!(silent.scopes(&provider), &provider);
    assert_eq!(silent.default_scopes(&provider), &provider);
    let own = settings_with(|s| s.scopes = Some(scope("read write")));
    assert_eq!(own.scopes(&provider), &scope("read write"));
    assert_eq!(own.default_scopes(&provider), &scope("read write"));
    let narrow = settings_with(|s| {
        (s.scopes, s.default_scopes) = (Some(scope("read write")), Some(scope("read")));
    });
    assert_eq!(narrow.default_scopes(&provider), &scope("read"));
    let nothing = settings_with(|s| s.scopes = Some(Scope::default()));
    assert_eq!(nothing.scopes(&provider), &Scope::default());
}

proptest! {
    /// Whatever bounds let through can be added to an instant, and folds back to itself.
    #[test]
    fn any_accepted_terms_are_kept_as_they_are(
        access_token_s in prop_oneof![0..3_u32, 86_399..86_402_u32, any::<u32>()],
        refresh_token_s in prop_oneof![0..3_u32, any::<u32>()],
        grant_s in prop_oneof![0..3_u32, any::<u32>()],
        refresh_retry_s in prop_oneof![0..3_u32, 86_399..86_402_u32, any::<u32>()],
    ) {
        use domain::Aggregate;
        let settings = settings_with(|s| {
            (s.access_token_s, s.refresh_token_s) = (access_token_s, refresh_token_s);
            (s.grant_s, s.refresh_retry_s) = (grant_s, refresh_retry_s);
        });
        let is_within = (1..=DAY_S).contains(&access_token_s)
            && (1..=TEN_YEARS_S).contains(&refresh_token_s)
            && (1..=TEN_YEARS_S).contains(&grant_s)
            && refresh_retry_s <= DAY_S;
        let decided = Proxy::default().decide(add(settings.clone()), support::at(0));
        prop_assert_eq!(decided.is_ok(), is_within);
        if let Ok(events) = decided {
            let state = after::<Proxy>(&events);
            prop_assert_eq!(state.configured(), Some(&configured(settings)));
        }
    }

    #[test]
    fn any_order_of_events_folds(history in prop::collection::vec(prop::sample::select(vec![
        added(),
        changed(configured(settings_with(|s| s.enabled = false))),
        removed(),
    ]), 0..8)) {
        let is_there = history.last().is_some_and(|last| *last != removed());
        prop_assert_eq!(after::<Proxy>(&history).configured().is_some(), is_there);
    }
}
