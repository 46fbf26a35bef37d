//! What an authorization request must be, and where its errors go.

use domain::authorization::{
    AuthorizationParameters, AuthorizationRequest, Offer, Prompt, Rule, Target, Unanswerable,
};
use domain::client::metadata::ClientMetadata;
use domain::client::{Client, Event, Registered, Removed};
use domain::id::{ClientId, EventId, ProxyId};
use domain::pkce::InvalidChallenge;
use domain::redirect_uri::AllowedRedirects;
use domain::resource::InvalidTarget;
use domain::scope::Scope;
use domain::secret::SecretHash;
use domain::{Aggregate, Fact, Timestamp};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

const CLIENT: ClientId = ClientId(Uuid::from_u128(1));
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const CALLBACK: &str = "https://app.example/cb";
const LOOPBACK: &str = "http://127.0.0.1:33418/cb";
const RESOURCE: &str = "https://mcp.example/proxy/1/mcp";

fn folded(history: &[Event]) -> Client {
    history.iter().fold(Client::default(), |client, event| {
        client.evolve(Fact {
            id: EventId(Uuid::from_u128(0)),
            at: Timestamp::UNIX_EPOCH,
            event,
        })
    })
}

fn registered(redirect_uris: &[&str], scope: &str) -> Event {
    let document = json!({"redirect_uris": redirect_uris, "scope": scope});
    let allowed = AllowedRedirects::new(redirect_uris.iter().copied());
    Event::Registered(Box::new(Registered {
        client_id: CLIENT,
        proxy_id: ProxyId(1),
        metadata: ClientMetadata::parse(&document, &allowed).expect("valid"),
        secret: None,
        registration_token: SecretHash::of("token"),
    }))
}

/// A good request, with these parameters in place of its own; an empty value leaves one out.
fn parameters(changed: &[(&str, &str)]) -> AuthorizationParameters {
    let client_id = CLIENT.to_string();
    let good = [
        ("response_type", "code"),
        ("client_id", &client_id),
        ("redirect_uri", CALLBACK),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "a b+%&\u{e9}"),
    ];
    let kept = good
        .iter()
        .filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
    AuthorizationParameters::new(
        kept.chain(changed)
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

fn target(redirect_uris: &[&str], changed: &[(&str, &str)]) -> Result<Target, Unanswerable> {
    let client = folded(&[registered(redirect_uris, "")]);
    let parameters = parameters(changed);
    parameters.client_id()?;
    parameters
        .target(&client, ProxyId(1))
        .map(|(_, target)| target)
}

fn request_of(scope: &str, changed: &[(&str, &str)]) -> Result<AuthorizationRequest, Rule> {
    let client = folded(&[registered(&[CALLBACK], scope)]);
    let parameters = parameters(changed);
    let (registration, target) = parameters.target(&client, ProxyId(1)).expect("answerable");
    let scopes: Scope = "read write admin".parse().expect("valid");
    let default_scopes: Scope = "read".parse().expect("valid");
    let resource = RESOURCE.parse().expect("valid");
    let others = ["https://mcp.example/mcp".parse().expect("valid")];
    let offer = Offer {
        scopes: &scopes,
        default_scopes: &default_scopes,
        resource: &resource,
        other_resources: &others,
    };
    parameters.request(registration, target, offer)
}

fn request(changed: &[(&str, &str)]) -> Result<AuthorizationRequest, Rule> {
    request_of("", changed)
}

#[track_caller]
fn refuses(changed: &[(&str, &str)], rule: Rule) {
    assert_eq!(request(changed), Err(rule), "{changed:?}");
}

#[track_caller]
fn stays_here(redirect_uris: &[&str], changed: &[(&str, &str)], error: Unanswerable) {
    assert_eq!(target(redirect_uris, changed), Err(error), "{changed:?}");
}

#[track_caller]
fn scope(registered: &str, asked: &str, expected: Result<&str, Rule>) {
    let scope =
        request_of(registered, &[("scope", asked)]).map(|request| request.scope.to_string());
    assert_eq!(
        scope,
        expected.map(str::to_owned),
        "{registered:?} {asked:?}"
    );
}

#[test]
fn a_good_request_is_kept_as_it_was_meant() {
    let request = request(&[]).expect("good");
    assert_eq!(request.client_id, CLIENT);
    assert_eq!(request.target.redirect_uri.as_str(), CALLBACK);
    assert!(request.target.redirect_uri_given);
    assert_eq!(request.target.state.as_deref(), Some("a b+%&\u{e9}"));
    assert_eq!(request.scope.to_string(), "read");
    assert_eq!(request.resource.as_str(), RESOURCE);
    assert_eq!(request.code_challenge.to_string(), CHALLENGE);
    let sealed = serde_json::to_string(&request).expect("plain");
    assert_eq!(
        serde_json::from_str::<AuthorizationRequest>(&sealed).expect("round trip"),
        request
    );
    assert!(
        !format!("{request:?}").contains("a b+"),
        "state is not for logs"
    );
}

#[test]
fn an_unknown_client_sees_a_page() {
    let other = ClientId(Uuid::from_u128(2)).to_string();
    let one = [CALLBACK];
    stays_here(&one, &[("client_id", "")], Unanswerable::ClientIdMissing);
    stays_here(
        &one,
        &[("client_id", "https://client.example/")],
        Unanswerable::ClientUnknown,
    );
    stays_here(
        &one,
        &[("client_id", &other), ("client_id", &other)],
        Unanswerable::ClientIdRepeated,
    );
    let client = folded(&[registered(&one, "")]);
    let elsewhere = parameters(&[]).target(&client, ProxyId(2));
    assert_eq!(elsewhere.map(|_| ()), Err(Unanswerable::ClientUnknown));
    let gone = folded(&[registered(&one, ""), Event::Removed(Removed { by: None })]);
    for client in [Client::Absent, gone] {
        let answer = parameters(&[]).target(&client, ProxyId(1));
        assert_eq!(answer.map(|_| ()), Err(Unanswerable::ClientUnknown));
    }
}

#[test]
fn a_wrong_redirect_uri_sees_a_page() {
    for uri in [
        "https://app.example/cb/",
        "https://app.example/CB",
        "https://APP.example/cb",
        "https://app.example:443/cb",
        "https://app.example/cb?x",
        "https://app.example/cb#x",
        "https://app.example/x/../cb",
        "https://app.example/c%62",
        "https://app.example.evil/cb",
        "https://app.example@evil.example/cb",
        "javascript:alert(1)",
        " https://app.example/cb",
    ] {
        stays_here(
            &[CALLBACK],
            &[("redirect_uri", uri)],
            Unanswerable::RedirectUriUnregistered,
        );
    }
    let twice = [("redirect_uri", CALLBACK), ("redirect_uri", CALLBACK)];
    stays_here(&[CALLBACK], &twice, Unanswerable::RedirectUriRepeated);
}

#[test]
fn a_redirect_uri_may_be_left_out_if_there_is_only_one() {
    let only = target(&[CALLBACK], &[("redirect_uri", "")]).expect("unambiguous");
    assert_eq!(
        (only.redirect_uri.as_str(), only.redirect_uri_given),
        (CALLBACK, false)
    );
    let several = [CALLBACK, LOOPBACK];
    stays_here(
        &several,
        &[("redirect_uri", "")],
        Unanswerable::RedirectUriAmbiguous,
    );
}

#[test]
fn the_port_of_a_loopback_uri_is_the_request_s() {
    for uri in [LOOPBACK, "http://127.0.0.1:1/cb", "http://127.0.0.1/cb"] {
        let target = target(&[LOOPBACK], &[("redirect_uri", uri)]).expect("registered");
        assert_eq!(target.redirect_uri.as_str(), uri);
    }
}

#[test]
fn long_parameters_are_refused_here() {
    let state = |n| "s".repeat(n);
    assert_eq!(
        target(&[CALLBACK], &[("state", &state(2048))])
            .expect("fine")
            .state,
        Some(state(2048))
    );
    stays_here(
        &[CALLBACK],
        &[("state", &state(100_000))],
        Unanswerable::TooLong,
    );
}

#[test]
fn only_codes_in_the_query_are_offered() {
    refuses(&[("response_type", "")], Rule::ResponseTypeMissing);
    for other in ["token", "id_token", "code token", "none", "CODE"] {
        refuses(&[("response_type", other)], Rule::ResponseType);
    }
    for other in ["fragment", "form_post", "web_message", "jwt"] {
        refuses(&[("response_mode", other)], Rule::ResponseMode);
    }
    assert!(request(&[("response_mode", "query")]).is_ok());
    refuses(
        &[("request", "e30.e30."), ("response_type", "")],
        Rule::Request,
    );
    refuses(&[("request_uri", "urn:x")], Rule::RequestUri);
}

#[test]
fn every_request_has_a_challenge_of_method_s256() {
    refuses(&[("code_challenge", "")], Rule::CodeChallengeMissing);
    for method in ["", "plain", "s256", "S512"] {
        refuses(
            &[("code_challenge_method", method)],
            Rule::CodeChallengeMethod,
        );
    }
    for challenge in [
        &CHALLENGE[1..],
        &format!("{CHALLENGE}="),
        &CHALLENGE.replace('-', "+"),
    ] {
        refuses(
            &[("code_challenge", challenge)],
            Rule::CodeChallenge(InvalidChallenge),
        );
    }
}

#[test]
fn what_may_come_once_comes_once() {
    for name in [
        "state",
        "scope",
        "response_type",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "prompt",
    ] {
        let twice = [
            ("state", ""),
            ("response_type", "code"),
            (name, "code"),
            (name, ""),
        ];
        let Err(Rule::Repeated(found)) = request(&twice) else {
            panic!("expected {name} to be refused");
        };
        assert_eq!(found, name);
    }
    let states = target(&[CALLBACK], &[("state", "a"), ("state", "b")]).expect("answerable");
    assert_eq!(
        states.state, None,
        "no state is the client's if there are two"
    );
    assert!(request(&[("x", "1"), ("x", "2")]).is_ok());
}

#[test]
fn scopes_are_those_of_the_proxy() {
    scope("", "", Ok("read"));
    scope("", "write read", Ok("write read"));
    scope("", "read other", Err(Rule::ScopeNotOffered));
    scope("", "Read", Err(Rule::ScopeNotOffered));
    scope("", "read \"", Err(Rule::ScopeMalformed));
    scope("", "offline_access write", Ok("write"));
    scope("", "offline_access", Ok("read"));
}

#[test]
fn a_client_gets_no_more_than_it_registered() {
    scope("read write", "admin read", Ok("read"));
    scope("read", "write", Err(Rule::ScopeNotRegistered));
    scope("read write", "", Ok("read"));
    scope("write", "", Ok("read"));
    scope("openid elsewhere", "read write", Ok("read write"));
}

#[test]
fn resources_are_those_of_the_proxy() {
    let resource =
        |changed: &[(&str, &str)]| request(changed).map(|request| request.resource.to_string());
    let short = "https://mcp.example/mcp";
    assert_eq!(resource(&[("resource", short)]), Ok(short.to_owned()));
    assert_eq!(
        resource(&[("resource", "https://MCP.example/mcp/")]),
        Ok(short.to_owned())
    );
    assert_eq!(
        resource(&[("resource", short), ("resource", RESOURCE)]),
        Ok(RESOURCE.to_owned())
    );
    let unknown = Rule::Resource(InvalidTarget::Unknown);
    refuses(&[("resource", "https://mcp.example/proxy/2/mcp")], unknown);
    refuses(
        &[
            ("resource", RESOURCE),
            ("resource", "https://other.example/"),
        ],
        unknown,
    );
    for malformed in ["/mcp", "mcp", "https://mcp.example/mcp#x"] {
        refuses(
            &[("resource", malformed)],
            Rule::Resource(InvalidTarget::Malformed),
        );
    }
}

#[test]
fn nobody_is_logged_in_without_being_asked() {
    refuses(&[("prompt", "none")], Rule::LoginRequired);
    refuses(&[("prompt", "none login")], Rule::Prompt);
    let prompt = |text| request(&[("prompt", text)]).expect("good").prompt;
    assert_eq!(
        prompt("consent  login consent"),
        [Prompt::Consent, Prompt::Login]
    );
    assert_eq!(prompt("select_account create"), [Prompt::SelectAccount]);
    assert_eq!(prompt(""), []);
}

#[test]
fn max_age_is_in_seconds() {
    let max_age = |text| request(&[("max_age", text)]).map(|request| request.max_age_s);
    assert_eq!(max_age("0"), Ok(Some(0)));
    assert_eq!(max_age("3600"), Ok(Some(3600)));
    assert_eq!(max_age(""), Ok(None));
    for wrong in ["-1", "+1", "x", "1.5", "99999999999"] {
        refuses(&[("max_age", wrong)], Rule::MaxAge);
    }
}

proptest! {
    #[test]
    fn any_parameters_are_judged(sent in prop::collection::vec((
        prop::sample::select(vec!["client_id", "redirect_uri", "response_type", "scope", "state", "resource",
            "prompt", "max_age", "code_challenge", "code_challenge_method", "response_mode"]),
        prop_oneof!["\\PC{0,12}", Just("code".to_owned()), Just(CALLBACK.to_owned()), Just(String::new())],
    ), 0..6)) {
        let changed: Vec<_> = sent.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if let Ok(target) = target(&[CALLBACK, LOOPBACK], &changed) {
            prop_assert_eq!(target.redirect_uri.as_str(), CALLBACK);
        }
    }
}
