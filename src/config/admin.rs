//! `[admin]`: the first operator.

use super::ConfigError;
use super::key::Key;
use super::section::Section;
use crate::secret::Secret;

/// The first operator.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The token of an operator with the role `admin`, at least 32 characters. Default: created
    /// on the first start and printed once.
    pub bootstrap_token: Option<Secret>,
}

pub(super) const KEYS: &[Key] = &[Key::secret(
    "bootstrap_token",
    "at least 32 random characters",
)];

const CHARACTERS_MIN: usize = 32;
/// 32 hexadecimal digits drawn at random have fewer than once in 10⁷ draws.
const DISTINCT_MIN: usize = 8;

impl Admin {
    pub(super) fn read(section: &Section<'_, '_>) -> Result<Self, ConfigError> {
        let Some((token, place)) = section.secret("bootstrap_token")? else {
            return Ok(Self {
                bootstrap_token: None,
            });
        };
        let length = token.expose().chars().count();
        let found = if length < CHARACTERS_MIN {
            Some(format!("{length} characters"))
        } else if token.is_placeholder() {
            Some("a placeholder".to_owned())
        } else if token.distinct_characters() < DISTINCT_MIN {
            Some("a repetition".to_owned())
        } else if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            Some("characters that no header carries".to_owned())
        } else {
            None
        };
        match found {
            Some(found) => Err(section.invalid_secret("bootstrap_token", Some(found), place)),
            None => Ok(Self {
                bootstrap_token: Some(token),
            }),
        }
    }
}
