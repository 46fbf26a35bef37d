//! Redirect URIs (RFC 6749 §3.1.2, RFC 8252 §7, RFC 9700 §2.1) and the operator's list of them.
//!
//! Invariants: a redirect URI is kept and compared byte for byte as it was registered; the only
//! freedom is the port of an `http` loopback URI (RFC 8252 §7.3). There are no wildcards in a
//! redirect URI, only in the operator's list, and never for `https`. Schemes that a browser
//! executes or hands to the system are refused whatever the list says.
//!
//! Reading one back from the log checks nothing, because a stored fact cannot be refused; rules
//! that became stricter since still hold, because whatever is requested is parsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

/// Where the browser is sent with the answer to an authorization request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RedirectUri(Box<str>);

/// A redirect URI that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRedirectUri {
    /// The URI as it was sent.
    pub uri: String,
    /// The rule.
    pub rule: RedirectUriRule,
}

/// What a redirect URI must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectUriRule {
    /// It is longer than 2048 bytes.
    #[error("expected at most 2048 bytes")]
    Length,
    /// It holds a character that no URI holds, such as a space, a control or a backslash.
    #[error("expected only the characters of a URI, without spaces or controls")]
    Characters,
    /// It holds a `*`.
    #[error("expected no wildcard")]
    Wildcard,
    /// It holds a `#`.
    #[error("expected no fragment")]
    Fragment,
    /// It has no scheme, or cannot be parsed.
    #[error("expected an absolute URI")]
    Absolute,
    /// It names a user or a password before the host.
    #[error("expected no user information before the host")]
    Userinfo,
    /// Its host is missing or not written as browsers write it.
    #[error("expected a host in its plain form")]
    Host,
    /// It is `http` and leaves the device.
    #[error("expected https, or http on 127.0.0.1, [::1] or localhost")]
    PlainHttp,
    /// Its scheme is never a redirect target.
    #[error("expected a scheme that may receive an authorization response")]
    Scheme,
    /// Its query has a parameter of the answer, which would then be there twice (RFC 6749 §3.1).
    #[error("expected no query parameter of an authorization response, such as code or state")]
    AnswerParameter,
    /// The proxy's list does not cover it.
    #[error("expected a URI that the proxy's allowed redirects cover")]
    NotAllowed,
}

/// Which redirect URIs clients of a proxy may register; empty means loopback only.
///
/// Each entry is an exact URI, a loopback host with any port and path (`http://localhost:*`,
/// `http://127.0.0.1:*`, `http://[::1]:*`), or a custom scheme (`cursor://*`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AllowedRedirects(Vec<Box<str>>);

/// An entry of the operator's list that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an exact redirect URI, a loopback pattern such as http://localhost:* or a scheme such as cursor://*, found {pattern}: {rule}"
)]
pub struct InvalidPattern {
    /// The entry as it was written.
    pub pattern: String,
    /// The rule it breaks, read as an exact URI.
    pub rule: RedirectUriRule,
}

enum Pattern<'a> {
    Exact,
    Loopback(&'a str),
    Scheme(&'a str),
}

const LENGTH_MAX: usize = 2048;

const LOOPBACK_HOSTS: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

/// What is added to a redirect URI (RFC 6749 §4.1.2, RFC 9207).
const ANSWER_PARAMETERS: [&str; 5] = ["code", "state", "iss", "error", "error_description"];

/// Executed or opened by the browser or the system instead of reaching a client.
const REFUSED_SCHEMES: [&str; 25] = [
    "about",
    "android-app",
    "blob",
    "chrome",
    "data",
    "edge",
    "feed",
    "file",
    "filesystem",
    "ftp",
    "intent",
    "jar",
    "javascript",
    "livescript",
    "mailto",
    "mhtml",
    "mocha",
    "resource",
    "search-ms",
    "shell",
    "sms",
    "tel",
    "vbscript",
    "view-source",
    "wyciwyg",
];

impl RedirectUri {
    /// The URI as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a request with this URI reaches the registered one: equal byte for byte, or both
    /// `http` on the same loopback host and different in nothing but the port.
    #[must_use]
    pub fn matches_registered(&self, registered: &Self) -> bool {
        self == registered
            || match (
                self.without_loopback_port(),
                registered.without_loopback_port(),
            ) {
                (Some(requested), Some(registered)) => requested == registered,
                (Some(_) | None, _) => false,
            }
    }

    /// Whether the answer stays on the device of the browser.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.without_loopback_port().is_some()
    }

    /// What a person must recognize before consenting: the host, or the scheme of a custom one.
    #[must_use]
    pub fn destination(&self) -> String {
        Url::parse(&self.0).map_or_else(
            |_| self.0.to_string(),
            |url| match (url.scheme(), url.host_str()) {
                ("http" | "https", Some(host)) => host.to_owned(),
                (scheme, _) => format!("{scheme}:"),
            },
        )
    }

    fn has_answer_parameter(&self) -> bool {
        Url::parse(&self.0).is_ok_and(|url| {
            url.query_pairs()
                .any(|(name, _)| ANSWER_PARAMETERS.contains(&&*name))
        })
    }

    /// What stands before and after the port, if this is an `http` loopback URI.
    fn without_loopback_port(&self) -> Option<(&str, &str)> {
        let authority = self.0.get("http://".len()..)?;
        let url = Url::parse(&self.0).ok()?;
        let host = url
            .host_str()
            .filter(|host| LOOPBACK_HOSTS.contains(host))?;
        if url.scheme() != "http" {
            return None;
        }
        let (origin, rest) = self
            .0
            .split_at(self.0.len() - authority.get(host.len()..)?.len());
        let path = rest.strip_prefix(':').map_or(rest, |port| {
            port.trim_start_matches(|c: char| c.is_ascii_digit())
        });
        Some((origin, path))
    }
}

impl FromStr for RedirectUri {
    type Err = InvalidRedirectUri;
    fn from_str(text: &str) -> Result<Self, InvalidRedirectUri> {
        match check(text) {
            Ok(()) => Ok(Self(text.into())),
            Err(rule) => Err(InvalidRedirectUri {
                uri: text.to_owned(),
                rule,
            }),
        }
    }
}

fn check(text: &str) -> Result<(), RedirectUriRule> {
    if text.len() > LENGTH_MAX {
        return Err(RedirectUriRule::Length);
    }
    // the parser would strip or repair these, and then no longer speak of the same bytes
    if !text.bytes().all(is_uri_byte) {
        return Err(RedirectUriRule::Characters);
    }
    if text.contains('*') {
        return Err(RedirectUriRule::Wildcard);
    }
    if text.contains('#') {
        return Err(RedirectUriRule::Fragment);
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::EmptyHost => RedirectUriRule::Host,
        _ => RedirectUriRule::Absolute,
    })?;
    if is_refused(url.scheme()) {
        return Err(RedirectUriRule::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RedirectUriRule::Userinfo);
    }
    if !host_is_plain(text, &url) {
        return Err(RedirectUriRule::Host);
    }
    let loopback = url
        .host_str()
        .is_some_and(|host| LOOPBACK_HOSTS.contains(&host));
    if url.scheme() == "http" && !loopback {
        return Err(RedirectUriRule::PlainHttp);
    }
    Ok(())
}

/// RFC 3986 §2: unreserved, reserved and `%`.
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
        )
}

fn is_refused(scheme: &str) -> bool {
    REFUSED_SCHEMES.contains(&scheme) || scheme.starts_with("ms-")
}

/// Whether the host stands in the text as the parser read it, so that `https:///cb`, `http://127.1`
/// and percent-encoded hosts cannot mean more than they show.
fn host_is_plain(text: &str, url: &Url) -> bool {
    match url.host_str() {
        Some(host) if !host.is_empty() => {
            let expected = format!("{}://{host}", url.scheme());
            text.get(..expected.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(&expected))
        }
        Some(_) | None => !matches!(url.scheme(), "http" | "https") && !text.contains('@'),
    }
}

impl AllowedRedirects {
    /// The operator's entries as they were written; see [`check`](Self::check).
    pub fn new<T: Into<Box<str>>>(patterns: impl IntoIterator<Item = T>) -> Self {
        Self(patterns.into_iter().map(Into::into).collect())
    }

    /// Judges every entry.
    ///
    /// # Errors
    /// The first entry that is neither an exact redirect URI nor a pattern.
    pub fn check(&self) -> Result<(), InvalidPattern> {
        self.0.iter().try_for_each(|text| read(text).map(|_| ()))
    }

    /// The entries as they were written.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Parses a redirect URI that a client wants to register, and judges it by the list.
    ///
    /// # Errors
    /// The URI breaks a rule of redirect URIs, or no entry covers it.
    pub fn admit(&self, text: &str) -> Result<RedirectUri, InvalidRedirectUri> {
        let uri: RedirectUri = text.parse()?;
        let refused = |rule| {
            Err(InvalidRedirectUri {
                uri: text.to_owned(),
                rule,
            })
        };
        let covered = if self.0.is_empty() {
            uri.is_loopback()
        } else {
            self.0.iter().any(|pattern| covers(pattern, &uri))
        };
        if !covered {
            return refused(RedirectUriRule::NotAllowed);
        }
        // A rule of registration alone: what was registered before goes on.
        if uri.has_answer_parameter() {
            return refused(RedirectUriRule::AnswerParameter);
        }
        Ok(uri)
    }
}

fn covers(pattern: &str, uri: &RedirectUri) -> bool {
    match read(pattern) {
        Ok(Pattern::Exact) => pattern == uri.as_str(),
        Ok(Pattern::Loopback(origin)) => uri
            .without_loopback_port()
            .is_some_and(|(start, _)| start.eq_ignore_ascii_case(origin)),
        Ok(Pattern::Scheme(scheme)) => uri
            .as_str()
            .split_once(':')
            .is_some_and(|(start, _)| start.eq_ignore_ascii_case(scheme)),
        Err(_) => false,
    }
}

fn read(text: &str) -> Result<Pattern<'_>, InvalidPattern> {
    if let Some(origin) = text
        .strip_suffix(":*")
        .or_else(|| text.strip_suffix(":*/*"))
        && let Some(host) = origin.strip_prefix("http://")
        && LOOPBACK_HOSTS.contains(&host)
    {
        return Ok(Pattern::Loopback(origin));
    }
    let invalid = |rule| InvalidPattern {
        pattern: text.to_owned(),
        rule,
    };
    if let Some(scheme) = [":*", ":/*", "://*"]
        .iter()
        .find_map(|suffix| text.strip_suffix(suffix))
        .filter(|scheme| is_custom_scheme(scheme))
    {
        return if is_refused(&scheme.to_ascii_lowercase()) {
            Err(invalid(RedirectUriRule::Scheme))
        } else {
            Ok(Pattern::Scheme(scheme))
        };
    }
    check(text).map(|()| Pattern::Exact).map_err(invalid)
}

/// A scheme of RFC 3986 §3.1 that is not the web's.
fn is_custom_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        && !["http", "https"]
            .iter()
            .any(|web| text.eq_ignore_ascii_case(web))
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names the URI in printable ASCII and not beyond 200 characters, because a stranger wrote it.
impl fmt::Display for InvalidRedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.uri.escape_default().take(200).collect();
        write!(f, "{}, found {shown}", self.rule)
    }
}

impl std::error::Error for InvalidRedirectUri {}
