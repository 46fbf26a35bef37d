//! The story: one client, two people, a thief. Every step is checked before it is told.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use super::DemoError;
use super::browser::Browser;
use super::check::{Unexpected, at, expect};
use super::client::{Client, Registration, Tokens};
use super::identity_provider::{PEOPLE, Person};
use super::transcript::{Mark, Transcript};

/// How soon every gateway must refuse a revoked grant's tokens.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);
const CLIENT: &str = "client";
const THIEF: &str = "thief";
const THIEF_USER_AGENT: &str = "curl/8.14.1";
const REFUSED: Mark = Mark::Stopped("401");

/// Plays the story against the MCP endpoint and returns the client's id.
///
/// # Errors
/// The first step that did not hold.
pub(super) async fn play(
    mcp_url: &str,
    login_url: &str,
    out: &mut Transcript,
) -> Result<String, DemoError> {
    let client = Client::discover(mcp_url).await.map_err(at("discover"))?;
    out.step(
        "discover",
        CLIENT,
        Mark::Ok,
        &format!("401 led to the issuer {}", client.server.issuer),
    )?;
    let registration = client.register().await.map_err(at("register"))?;
    out.step("register", CLIENT, Mark::Ok, &registration.client_id)?;
    let mut story = Story {
        client,
        registration,
        login_url,
        out,
    };
    let [ada, grace, _] = &PEOPLE;
    story.theft(ada).await?;
    story.revocation(grace).await?;
    Ok(story.registration.client_id)
}

struct Story<'a> {
    client: Client,
    registration: Registration,
    login_url: &'a str,
    out: &'a mut Transcript,
}

impl Story<'_> {
    /// A refresh token is stolen and comes back after its successor has been used.
    async fn theft(&mut self, person: &'static Person) -> Result<(), DemoError> {
        let first = self.log_in(person).await?;
        self.use_tools(&first).await?;
        let second = self.refresh(&first).await?;
        self.reuse(&first.refresh_token).await?;
        self.refused(&second.access_token).await?;
        self.client
            .refresh_in_vain(&self.registration, &second.refresh_token, CLIENT, None)
            .await
            .map_err(at("refresh after the theft"))?;
        let note = "invalid_grant, for the newest refresh token too";
        self.out
            .step("refresh", CLIENT, Mark::Stopped("400"), note)?;
        Ok(())
    }

    /// A client gives up its tokens in an orderly way.
    async fn revocation(&mut self, person: &'static Person) -> Result<(), DemoError> {
        let tokens = self.log_in(person).await?;
        self.use_tools(&tokens).await?;
        self.client
            .revoke(&self.registration, &tokens.refresh_token)
            .await
            .map_err(at("revoke"))?;
        self.out.step(
            "revoke",
            CLIENT,
            Mark::Ok,
            "the client gave up its refresh token (RFC 7009)",
        )?;
        self.refused(&tokens.access_token).await
    }

    async fn log_in(&mut self, person: &'static Person) -> Result<Tokens, DemoError> {
        let authorization = self.client.authorize(&self.registration);
        let mut browser =
            Browser::new(self.registration.redirect_uri.clone()).map_err(at("authorize"))?;
        let consent = browser
            .open(authorization.url.clone())
            .await
            .and_then(|landed| landed.page("the consent page"))
            .and_then(|page| page.mentions(super::client::CLIENT_NAME))
            .map_err(at("authorize"))?;
        self.out.step(
            "authorize",
            person.login,
            Mark::Ok,
            "the consent page names the client",
        )?;

        let login = browser
            .submit(&consent, &[("decision", "approve")])
            .await
            .and_then(|landed| landed.page("the provider's login page"))
            .and_then(|page| page.comes_from(self.login_url))
            .map_err(at("consent"))?;
        self.out.step(
            "consent",
            person.login,
            Mark::Ok,
            "approved, and only then sent to the provider",
        )?;

        let answer = browser
            .submit(
                &login,
                &[
                    ("login", person.login),
                    ("password", person.password),
                    ("decision", "approve"),
                ],
            )
            .await
            .and_then(|landed| landed.answer("the redirect to the client"))
            .map_err(at("login"))?;
        self.out.step(
            "login",
            person.login,
            Mark::Ok,
            "back at the client with a code",
        )?;

        let tokens = self
            .client
            .redeem(&self.registration, &authorization, &answer)
            .await
            .map_err(at("token"))?;
        let note = format!(
            "access token for {} s with scope \"{}\", and a refresh token",
            tokens.expires_in, tokens.scope
        );
        self.out.step("token", CLIENT, Mark::Ok, &note)?;
        Ok(tokens)
    }

    async fn use_tools(&mut self, tokens: &Tokens) -> Result<(), DemoError> {
        let token = &tokens.access_token;
        let tools = self
            .client
            .tools(token)
            .await
            .map_err(at("tools/list"))?
            .join(", ");
        expect("the tools", "add, echo", &tools).map_err(at("tools/list"))?;
        self.out.step("tools/list", CLIENT, Mark::Ok, &tools)?;
        let arguments = json!({ "a": 2, "b": 40 });
        let sum = self
            .client
            .call(token, "add", arguments)
            .await
            .map_err(at("tools/call"))?;
        expect("2 + 40 =", "42", &sum).map_err(at("tools/call"))?;
        self.out.step(
            "tools/call",
            CLIENT,
            Mark::Ok,
            &format!("add(2, 40) = {sum}"),
        )?;
        Ok(())
    }

    /// Rotates, and uses the new access token: from now on the old refresh token is worth nothing.
    async fn refresh(&mut self, tokens: &Tokens) -> Result<Tokens, DemoError> {
        let next = self
            .client
            .refresh(&self.registration, &tokens.refresh_token)
            .await
            .map_err(at("refresh"))?;
        if next.refresh_token == tokens.refresh_token {
            return Err(at("refresh")(Unexpected::new(
                "another refresh token",
                "the same",
            )));
        }
        self.out.step(
            "refresh",
            CLIENT,
            Mark::Ok,
            "new access token, new refresh token",
        )?;
        let said = self
            .client
            .call(&next.access_token, "echo", json!({ "text": "still me" }))
            .await
            .map_err(at("tools/call"))?;
        expect("the echo", "still me", &said).map_err(at("tools/call"))?;
        self.out.step(
            "tools/call",
            CLIENT,
            Mark::Ok,
            &format!("echo says {said:?}"),
        )?;
        Ok(next)
    }

    async fn reuse(&mut self, stolen: &str) -> Result<(), DemoError> {
        let address = foreign_address();
        self.client
            .refresh_in_vain(&self.registration, stolen, THIEF_USER_AGENT, address)
            .await
            .map_err(at("theft"))?;
        let from = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let note = format!("the replaced refresh token came from {from}: invalid_grant");
        self.out
            .step("refresh", THIEF, Mark::Stopped("REUSE"), &note)?;
        Ok(())
    }

    /// Checks that the gateway refuses a token that it has just admitted.
    async fn refused(&mut self, access_token: &str) -> Result<(), DemoError> {
        let refusal = async {
            loop {
                let verdict = self.client.verdict(access_token).await?;
                if verdict.status == StatusCode::UNAUTHORIZED {
                    return Ok(verdict);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let verdict = tokio::time::timeout(REVOKED_WITHIN, refusal)
            .await
            .unwrap_or_else(|_| Err(Unexpected::new("401 within 1 s", "the token still works")))
            .map_err(at("the gateway's refusal"))?;
        if !verdict.challenge.contains("error=\"invalid_token\"") {
            let unexpected = Unexpected::new("the error invalid_token", verdict.challenge);
            return Err(at("the gateway's refusal")(unexpected));
        }
        let note = "the whole grant is dead: invalid_token at the gateway";
        self.out.step("tools/list", CLIENT, REFUSED, note)?;
        Ok(())
    }
}

/// Another loopback address, where the system has one, so that the record shows two places.
fn foreign_address() -> Option<IpAddr> {
    let address = IpAddr::from([127, 0, 0, 66]);
    TcpListener::bind((address, 0)).ok().map(|_| address)
}
