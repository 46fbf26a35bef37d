//! What is understood.

use domain::id::{ProviderId, ProxyId};
use domain::key::Algorithm;
use domain::proxy::UpstreamAuth;

use super::{Given, PROVIDER, TOKEN, file};
use crate::config::{Config, ProviderRef};

#[test]
fn nothing_given_is_the_documented_default() {
    let config = Given::default().config();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.public_url.as_str(), "http://127.0.0.1:8080");
    assert_eq!(config.gateway.listen.to_string(), "127.0.0.1:9001");
    assert_eq!(config.gateway.public_url.as_str(), "http://127.0.0.1:9001");
    assert_eq!(config.gateway.default_proxy, None);
    assert_eq!(config.ops.listen.to_string(), "127.0.0.1:9090");
    assert_eq!(config.store.data_dir.to_str(), Some("./grantlog-data"));
    assert!(config.store.database_url.is_none() && config.store.migrate);
    assert!(config.keys.master_key.is_none() && config.admin.bootstrap_token.is_none());
    assert!(config.network.trusted_proxies.is_empty());
    assert_eq!(config.limits.registrations_per_minute, 60);
    assert!(config.providers.is_empty() && config.proxies.is_empty());
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let file = "[server]\nlisten = '127.0.0.1:1'";
    let environment = [("GRANTLOG_SERVER__LISTEN", "127.0.0.1:2")];
    let flags = [("server.listen", "127.0.0.1:3")];
    let listen = |given: Given<'_>| given.config().server.listen.port();
    assert_eq!(listen(Given::default()), 8080);
    let from_file = Given {
        file,
        ..Given::default()
    };
    assert_eq!(listen(from_file), 1);
    let from_environment = Given {
        file,
        environment: &environment,
        ..Given::default()
    };
    assert_eq!(listen(from_environment), 2);
    let from_flags = Given {
        file,
        environment: &environment,
        flags: &flags,
    };
    assert_eq!(listen(from_flags), 3);
}

#[test]
fn public_urls_follow_the_listener_and_lose_their_slash() {
    for (listen, public_url, expected) in [
        ("0.0.0.0:80", "", "http://127.0.0.1"),
        ("[::1]:8081", "", "http://[::1]:8081"),
        (
            "10.0.0.5:80",
            "https://Auth.Example.com/",
            "https://auth.example.com",
        ),
        (
            "10.0.0.5:80",
            "http://localhost:8080",
            "http://localhost:8080",
        ),
        ("10.0.0.5:80", "http://a.localhost", "http://a.localhost"),
    ] {
        let environment = [("GRANTLOG_SERVER__PUBLIC_URL", public_url)];
        let config = Given {
            flags: &[("server.listen", listen)],
            environment: &environment,
            ..Given::default()
        }
        .config();
        assert_eq!(config.server.public_url.as_str(), expected);
    }
}

#[test]
fn lists_are_arrays_in_the_file_and_comma_separated_in_the_environment() {
    let in_file = file("[network]\ntrusted_proxies = ['10.0.0.0/8', '::1']").expect("valid");
    let in_environment = Given {
        environment: &[("GRANTLOG_NETWORK__TRUSTED_PROXIES", "10.0.0.0/8, ::1")],
        ..Given::default()
    }
    .config();
    for config in [in_file, in_environment] {
        let networks: Vec<_> = config.network.trusted_proxies.iter().collect();
        assert_eq!(networks.len(), 2);
        assert_eq!(networks[1].to_string(), "::1/128");
    }
}

#[test]
fn secrets_come_from_the_key_its_file_or_the_environment() {
    let clear = format!("[admin]\nbootstrap_token = '{TOKEN}'");
    let twin = "[admin]\nbootstrap_token_file = '/secrets/token'";
    let variable = [("GRANTLOG_ADMIN__BOOTSTRAP_TOKEN", TOKEN)];
    let variable_file = [("GRANTLOG_ADMIN__BOOTSTRAP_TOKEN_FILE", "/secrets/token")];
    let broken = "[admin]\nbootstrap_token_file = '/nowhere'";
    for (file, environment) in [
        (clear.as_str(), &[][..]),
        (twin, &[]),
        ("", &variable),
        ("", &variable_file),
        (broken, &variable),
    ] {
        let config = Given {
            file,
            environment,
            ..Given::default()
        }
        .config();
        let token = config.admin.bootstrap_token.clone().expect("a token");
        assert_eq!(token.expose(), TOKEN);
        assert!(!format!("{config:?}").contains(TOKEN));
    }
}

#[test]
fn several_master_keys_are_one_a_line() {
    let new = "ZWjVZm0yJvGEy3mVTxG3xvFq7Yl8mAO4CiOQ1oHfZxs=";
    let old = "Hk2l0cXvCGuDXk6bQ0m9ZK3zHwy1l5mX4oV7v2eT8nA=";
    let config = file(&format!("[keys]\nmaster_key = ['{new}', '{old}']")).expect("valid");
    let keys = config.keys.master_key.expect("keys");
    assert_eq!(keys.expose(), format!("{new}\n{old}"));
}

#[test]
fn origins_are_loopback_and_our_own_unless_listed() {
    let with_default = file("[server]\npublic_url = 'https://auth.example.com'").expect("valid");
    let listed = file("[gateway]\nallowed_origins = ['https://app.example.com/']").expect("valid");
    let own = |config: &Config| {
        let public_urls = [&config.server.public_url, &config.gateway.public_url];
        public_urls.map(|public| public.url().origin())
    };
    let admits = |config: &Config, origin| config.gateway.admits_origin(origin, &own(config));
    for (origin, by_default, by_list) in [
        ("http://localhost:5173", true, false),
        ("http://[::1]:1", true, false),
        ("https://auth.example.com", true, false),
        ("https://auth.example.com:444", false, false),
        ("https://app.example.com", false, true),
        ("http://127.0.0.1.evil.com", false, false),
        ("http://localhost.evil.com", false, false),
        ("null", false, false),
        ("https://app.example.com/path", false, false),
        ("file://localhost", false, false),
    ] {
        assert_eq!(admits(&with_default, origin), by_default, "{origin}");
        assert_eq!(admits(&listed, origin), by_list, "{origin}");
    }
}

#[test]
fn declared_tables_have_the_members_of_the_administration_api() {
    let text = format!(
        "{PROVIDER}{}",
        r#"
[[proxy]]
name = "docs"
upstream_url = "http://127.0.0.1:3000/mcp"
provider = "company"
[proxy.config]
oauth_proxy_mode = "gateway"
oauth_proxy_allowed_redirects = ["cursor://*", "https://your-app.com/callback"]
oauth_proxy_require_consent = false
oauth_proxy_scopes = "read write"
oauth_proxy_refresh_retry_seconds = 0
oauth_proxy_token_alg = "EdDSA"
oauth_proxy_upstream_auth = "static"
oauth_proxy_upstream_headers = { "X-Api-Key" = "k1" }
oauth_proxy_allowed_subjects = ["example.com"]
"#
    );
    let config = file(&text).expect("valid");
    let [provider] = &config.providers[..] else {
        panic!("expected one provider");
    };
    assert_eq!(provider.settings.name, "company");
    assert_eq!(provider.client_secret.expose(), "s3cr3t-in-clear");
    let [proxy] = &config.proxies[..] else {
        panic!("expected one proxy");
    };
    assert_eq!(proxy.provider, ProviderRef::Name("company".to_owned()));
    let settings = proxy.config.settings(
        proxy.name.clone(),
        proxy.upstream_url.clone(),
        ProviderId(1),
    );
    assert!(settings.enabled && !settings.require_consent);
    assert_eq!(settings.allowed_redirects.patterns().count(), 2);
    assert_eq!(settings.refresh_retry_s, 0);
    assert_eq!(settings.access_token_s, 3600);
    assert_eq!(settings.token_alg, Algorithm::EdDSA);
    assert_eq!(settings.upstream_auth, UpstreamAuth::Static);
    let headers = proxy.config.upstream_headers.as_ref().expect("headers");
    assert_eq!(headers["X-Api-Key"].expose(), "k1");
    let shown = format!("{config:?}");
    assert!(!shown.contains("k1") && !shown.contains("s3cr3t"));
}

#[test]
fn members_of_declared_tables_have_variables_and_files() {
    let text = r#"
[[provider]]
name = "The Company"
type = "github"
client_id = "overridden"
client_secret_file = "/secrets/client"
[[proxy]]
name = "docs"
upstream_url = "http://127.0.0.1:3000/mcp"
config = { oauth_proxy_provider_id = 7 }
"#;
    let config = Given {
        file: text,
        environment: &[
            ("GRANTLOG_PROVIDER__THE_COMPANY__CLIENT_ID", "12345"),
            ("GRANTLOG_PROXY__DOCS__OAUTH_PROXY_ENABLED", "false"),
            (
                "GRANTLOG_PROXY__DOCS__OAUTH_PROXY_ACCESS_TOKEN_SECONDS",
                "60",
            ),
            (
                "GRANTLOG_PROXY__DOCS__OAUTH_PROXY_ALLOWED_REDIRECTS",
                "a://*, b://*",
            ),
            (
                "GRANTLOG_PROXY__DOCS__OAUTH_PROXY_UPSTREAM_HEADERS_FILE",
                "/secrets/headers",
            ),
            ("GRANTLOG_GATEWAY__DEFAULT_PROXY", "2"),
            ("GRANTLOG_PORT", "no key of ours"),
        ],
        ..Given::default()
    }
    .config();
    let provider = &config.providers[0];
    assert_eq!(provider.settings.client_id, "12345");
    assert_eq!(provider.client_secret.expose(), "s3cr3t-from-file");
    let proxy = &config.proxies[0];
    assert_eq!(proxy.provider, ProviderRef::Id(ProviderId(7)));
    assert_eq!(proxy.config.enabled, Some(false));
    assert_eq!(proxy.config.access_token_seconds, Some(60));
    let redirects = proxy.config.allowed_redirects.as_ref().expect("redirects");
    assert_eq!(redirects.patterns().collect::<Vec<_>>(), ["a://*", "b://*"]);
    assert!(proxy.config.upstream_headers.is_some());
    assert_eq!(config.gateway.default_proxy, Some(ProxyId(2)));
}
