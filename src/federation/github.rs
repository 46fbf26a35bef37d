//! GitHub: OAuth 2 without OpenID Connect, and an API that says who a token is about.

use domain::provider::Settings;
use serde_json::Value;
use url::{Host, Url};

use super::Federation;
use super::failure::LoginFailure;
use super::kinds::assumed_issuer;
use super::login::{self, Profile, is_true, shortened, text};
use super::userinfo::{Described, id};

/// GitHub's endpoints, on github.com, an enterprise cloud host or a server of one's own.
pub(super) struct Endpoints {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) user_url: Url,
}

pub(super) fn endpoints(settings: &Settings) -> Option<Endpoints> {
    let site = match &settings.authorization_url {
        Some(url) => url.join("/").ok()?,
        None => Url::parse("https://github.com").ok()?,
    };
    let given = |url: &Option<Url>, path| url.clone().map_or_else(|| site.join(path).ok(), Some);
    let user_url = match (&settings.userinfo_url, site.host()) {
        (Some(url), _) => url.clone(),
        (None, Some(Host::Domain("github.com"))) => {
            Url::parse("https://api.github.com/user").ok()?
        }
        (None, Some(Host::Domain(host))) if host.ends_with(".ghe.com") => {
            Url::parse(&format!("https://api.{host}/user")).ok()?
        }
        (None, _) => site.join("/api/v3/user").ok()?,
    };
    Some(Endpoints {
        issuer: assumed_issuer(settings, &site),
        authorization_endpoint: given(&settings.authorization_url, "/login/oauth/authorize")?,
        token_endpoint: given(&settings.token_url, "/login/oauth/access_token")?,
        user_url,
    })
}

impl Federation {
    /// Who the token is about at GitHub. The address in the profile is what its owner likes to
    /// show, so only the list of addresses counts.
    pub(super) async fn describe_github(
        &self,
        user_url: &Url,
        access_token: &str,
    ) -> Result<Described, LoginFailure> {
        const ACCEPTED: &str = "application/vnd.github+json";
        let user = self.api(user_url, access_token, ACCEPTED).await?;
        let Some(Value::Object(user)) = user else {
            return Err(LoginFailure::UserinfoFailed);
        };
        let sub = id(&user).ok_or(LoginFailure::SubjectMissing)?;
        let mut emails_url = user_url.clone();
        emails_url.set_path(&format!("{}/emails", user_url.path().trim_end_matches('/')));
        // Who may not read the addresses is still somebody; they only have none.
        let emails = self.api(&emails_url, access_token, ACCEPTED).await?;
        let primary = emails.as_ref().and_then(primary_email);
        Ok(Described {
            sub,
            profile: Profile {
                email_verified: primary.as_ref().map(|(_, verified)| *verified),
                email: primary.map(|(email, _)| email),
                name: text(&user, "name")
                    .or_else(|| text(&user, "login"))
                    .map(shortened),
                groups: Vec::new(),
            },
        })
    }
}

fn primary_email(emails: &Value) -> Option<(String, bool)> {
    emails
        .as_array()?
        .iter()
        .filter_map(Value::as_object)
        .find(|email| is_true(email.get("primary")))
        .and_then(|email| Some((login::email(email)?, is_true(email.get("verified")))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn github_is_found_where_its_authorization_endpoint_is() {
        for (authorization_url, user_url) in [
            (
                "https://github.com/login/oauth/authorize",
                "https://api.github.com/user",
            ),
            (
                "https://acme.ghe.com/login/oauth/authorize",
                "https://api.acme.ghe.com/user",
            ),
            (
                "https://git.acme.example/login/oauth/authorize",
                "https://git.acme.example/api/v3/user",
            ),
        ] {
            let settings = serde_json::from_value(serde_json::json!({
                "name": "g", "type": "github", "client_id": "id",
                "authorization_url": authorization_url,
            }));
            let github = endpoints(&settings.expect("settings")).expect("endpoints");
            assert_eq!(github.user_url.as_str(), user_url);
        }
    }
}
