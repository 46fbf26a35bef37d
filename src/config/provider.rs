//! `[[provider]]`: declared upstream identity providers, with the members of the administration
//! API. Applied at start as commands, which record events only where they differ.

use std::ops::Range;

use domain::provider::{Kind, Settings};

use super::ConfigError;
use super::error::Problem;
use super::key::Key;
use super::layers::Layers;
use super::section::Section;
use crate::federation::validate;
use crate::secret::Secret;

/// A provider that the file declares. Its name tells it from the others.
#[derive(Clone, Debug)]
pub struct DeclaredProvider {
    /// How to speak to it.
    pub settings: Settings,
    /// Our secret at the provider.
    pub client_secret: Secret,
}

const URL: &str = "an https URL, or an http URL of a host you trust";

/// The members of a provider, as in `POST /api/v1/providers`.
pub const MEMBERS: &[Key] = &[
    Key::plain("name", "", "a name of its own"),
    Key::plain("type", "", "okta, google, github, azure_ad, oidc or oauth2"),
    Key::plain("client_id", "", "our client id at the provider"),
    Key::secret("client_secret", "our client secret at the provider"),
    Key::plain("issuer", "", URL),
    Key::plain("authorization_url", "", URL),
    Key::plain("token_url", "", URL),
    Key::plain("userinfo_url", "", URL),
    Key::plain("jwks_url", "", URL),
    Key::plain("scopes", "", "a space-separated list of scopes"),
];

pub(super) fn read_all(layers: &Layers<'_>) -> Result<Vec<DeclaredProvider>, ConfigError> {
    let declared = layers.declared("provider")?;
    declared
        .into_iter()
        .map(|declared| {
            let section = Section::declared(layers, "provider", &declared, MEMBERS)?;
            read(layers, &section, declared.name, declared.span)
        })
        .collect()
}

fn read(
    layers: &Layers<'_>,
    section: &Section<'_, '_>,
    name: String,
    span: Range<usize>,
) -> Result<DeclaredProvider, ConfigError> {
    let kind: Kind = section.required("type")?;
    let client_id: String = section.required("client_id")?;
    let (client_secret, place) = section
        .secret("client_secret")?
        .ok_or_else(|| section.missing("client_secret"))?;
    let found = if client_secret.expose().trim().is_empty() {
        Some("nothing")
    } else if client_secret.is_placeholder() {
        Some("a placeholder")
    } else {
        None
    };
    if let Some(found) = found {
        return Err(section.invalid_secret("client_secret", Some(found.to_owned()), place));
    }
    let settings = Settings {
        name,
        kind,
        client_id,
        issuer: section.get("issuer")?,
        authorization_url: section.get("authorization_url")?,
        token_url: section.get("token_url")?,
        userinfo_url: section.get("userinfo_url")?,
        jwks_url: section.get("jwks_url")?,
        scopes: section.get("scopes")?.unwrap_or_default(),
    };
    if let Err(incomplete) = validate(&settings) {
        return Err(ConfigError {
            problem: Problem::Incomplete {
                key: format!("provider.{}", settings.name),
                reason: incomplete.to_string(),
            },
            place: layers.hidden(span),
        });
    }
    Ok(DeclaredProvider {
        settings,
        client_secret,
    })
}
