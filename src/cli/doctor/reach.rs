//! What must be reached: public URLs, providers, MCP servers; and by their answers, the clock.

use std::time::Duration;

use chrono::DateTime;
use domain::id::ProviderId;
use reqwest::{Client, Response, header};

use super::Check;
use crate::causes::innermost;
use crate::clock;
use crate::config::{Config, DeclaredProvider};
use crate::federation::{Federation, Provider};

const TIMEOUT: Duration = Duration::from_secs(5);
/// ID tokens and codes live for a minute; a clock further off refuses good ones.
const SKEW_S_MAX: i64 = 5;

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let client = Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            let fix = "install the system's CA certificates (Debian: ca-certificates)";
            return vec![Check::failed("tls", innermost(&error).to_string(), fix)];
        }
    };
    let mut checks = Vec::new();
    for (name, url) in [
        ("server.public_url", &config.server.public_url),
        ("gateway.public_url", &config.gateway.public_url),
    ] {
        checks.push(match client.get(url.url().clone()).send().await {
            Ok(_) => Check::ok(format!("{name} answers"), url.as_str()),
            Err(error) => Check::warning(
                format!("{name} answers"),
                format!("{url}: {}", innermost(&error)),
                "start the service, then ask again; else look at DNS, certificate and reverse proxy",
            ),
        });
    }
    let federation = Federation::new();
    for (index, provider) in config.providers.iter().enumerate() {
        checks.push(match &federation {
            Ok(federation) => ask(config, federation, provider, index).await,
            Err(error) => Check::failed(
                "tls",
                innermost(error).to_string(),
                "install CA certificates",
            ),
        });
    }
    for proxy in &config.proxies {
        let name = format!("proxy {}", proxy.name);
        checks.push(match client.get(proxy.upstream_url.clone()).send().await {
            Ok(response) => Check::ok(name, format!("answers {}", response.status().as_u16())),
            Err(error) => Check::failed(
                name,
                format!("the MCP server does not answer: {}", innermost(&error)),
                "start it, or correct upstream_url",
            ),
        });
    }
    checks.push(clock(config, &client).await);
    checks
}

async fn ask(
    config: &Config,
    federation: &Federation,
    declared: &DeclaredProvider,
    index: usize,
) -> Check {
    let name = format!("provider {}", declared.settings.name);
    // the number it gets if it is among the first; only for the provider's own messages
    let id = ProviderId(u32::try_from(index + 1).unwrap_or(u32::MAX));
    let callback_url = format!("{}/api/v1/oauth/callback/{id}", config.server.public_url);
    let provider = Provider {
        id,
        settings: &declared.settings,
        client_secret: declared.client_secret.expose(),
        callback_url: &callback_url,
    };
    let problems = federation.check(&provider, clock::now()).await;
    match &problems[..] {
        [] => Check::ok(name, "answers, and accepts our credentials"),
        [first, ..] => {
            let all: Vec<_> = problems
                .iter()
                .map(|problem| problem.what.as_str())
                .collect();
            Check::failed(name, all.join("; "), first.fix)
        }
    }
}

/// Compares with the `Date` of whoever answers (RFC 9110 §6.6.1).
async fn clock(config: &Config, client: &Client) -> Check {
    let urls = config.providers.iter().filter_map(|provider| {
        let settings = &provider.settings;
        settings
            .issuer
            .clone()
            .or_else(|| settings.token_url.clone())
    });
    for url in urls {
        let Ok(response) = client.get(url.clone()).send().await else {
            continue;
        };
        if let Some(skew_s) = skew_s(&response) {
            let host = url.host_str().unwrap_or_default();
            let found = format!("{skew_s} s off {host}");
            return if skew_s.abs() <= SKEW_S_MAX {
                Check::ok("clock", found)
            } else {
                Check::failed("clock", found, "synchronize this machine's clock (NTP)")
            };
        }
    }
    let fix = "declare a provider, or check that NTP runs";
    Check::warning("clock", "nobody to compare it with", fix)
}

fn skew_s(response: &Response) -> Option<i64> {
    let date = response.headers().get(header::DATE)?.to_str().ok()?;
    let theirs = DateTime::parse_from_rfc2822(date).ok()?;
    Some(clock::now().signed_duration_since(theirs).num_seconds())
}
