//! What is refused, with the words a user reads.

use super::{Given, PROVIDER, TOKEN, file};

#[track_caller]
fn refuses(text: &str, expected: &str) {
    let error = file(text).expect_err("expected a refusal");
    assert_eq!(error.to_string(), expected, "{text}");
}

#[test]
fn unknown_keys_name_their_line_and_the_nearest_key() {
    for (text, expected) in [
        (
            "[server]\nlisten = '127.0.0.1:1'\npublic_ulr = 'x'",
            "unknown key `server.public_ulr`, did you mean `server.public_url`? (grantlog.toml:3:1)",
        ),
        (
            "\n[sever]\nlisten = '127.0.0.1:1'",
            "unknown key `sever`, did you mean `server`? (grantlog.toml:2:2)",
        ),
        (
            "listen = '127.0.0.1:1'",
            "unknown key `listen` (grantlog.toml:1:1)",
        ),
        (
            "[keys]\n  master_key_fil = 'x'",
            "unknown key `keys.master_key_fil`, did you mean `keys.master_key_file`? (grantlog.toml:2:3)",
        ),
        (
            "[[provider]]\nname = 'company'\nclientid = 'x'",
            "unknown key `provider.company.clientid`, did you mean `provider.company.client_id`? (grantlog.toml:3:1)",
        ),
        (
            "[[proxy]]\nname = 'docs'\n[proxy.config]\nrequire_consent = true",
            "unknown key `proxy.docs.config.require_consent`, did you mean `proxy.docs.config.oauth_proxy_require_consent`? (grantlog.toml:4:1)",
        ),
    ] {
        refuses(text, expected);
    }
}

#[test]
fn unknown_variables_are_refused_too() {
    for (name, expected) in [
        (
            "GRANTLOG_SERVER__LISTN",
            "unknown key `GRANTLOG_SERVER__LISTN`, did you mean `GRANTLOG_SERVER__LISTEN`? (GRANTLOG_SERVER__LISTN)",
        ),
        (
            "GRANTLOG_SERVER_LISTEN",
            "unknown key `GRANTLOG_SERVER_LISTEN`, did you mean `GRANTLOG_SERVER__LISTEN`? (GRANTLOG_SERVER_LISTEN)",
        ),
        (
            "GRANTLOG_PROVIDER__COMPANY__CLIENT_SECRT",
            "unknown key `GRANTLOG_PROVIDER__COMPANY__CLIENT_SECRT`, did you mean `GRANTLOG_PROVIDER__COMPANY__CLIENT_SECRET`? (GRANTLOG_PROVIDER__COMPANY__CLIENT_SECRT)",
        ),
    ] {
        let error = Given {
            file: PROVIDER,
            environment: &[(name, "x")],
            ..Given::default()
        }
        .resolve()
        .expect_err("expected a refusal");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn values_name_what_was_expected_and_found() {
    for (text, expected) in [
        (
            "[server]\nlisten = '8080'",
            "`server.listen`: expected an address and port such as 127.0.0.1:8080, found `'8080'` (grantlog.toml:2:10)",
        ),
        (
            "[store]\nmigrate = 'perhaps'",
            "`store.migrate`: expected true or false, found `'perhaps'` (grantlog.toml:2:11)",
        ),
        (
            "[limits]\ntokens_per_minute = -1",
            "`limits.tokens_per_minute`: expected a number per minute, 0 for no limit, found `-1` (grantlog.toml:2:21)",
        ),
        (
            "[network]\ntrusted_proxies = ['10.0.0.0/8', '10.0.0/8']",
            "`network.trusted_proxies`: expected networks such as 10.0.0.0/8, or addresses, found `['10.0.0.0/8', '10.0.0/8']` (grantlog.toml:2:19)",
        ),
        (
            "[limits]\nunused_client_hours = 876001",
            "`limits.unused_client_hours`: expected a number of hours up to 876000, 0 for no limit, found `876001` (grantlog.toml:2:23)",
        ),
        (
            "[gateway]\ndefault_proxy = 0",
            "`gateway.default_proxy`: expected a positive proxy number, found `0` (grantlog.toml:2:17)",
        ),
        (
            "[gateway]\nallowed_origins = ['https://a.example/path']",
            "`gateway.allowed_origins`: expected origins such as https://app.example.com, found `['https://a.example/path']` (grantlog.toml:2:19)",
        ),
        (
            "server = 'x'",
            "`server`: expected a [server] table (grantlog.toml:1:10)",
        ),
        (
            "[provider]\nname = 'x'",
            "`provider`: expected [[provider]] tables (grantlog.toml:1:1)",
        ),
        (
            "[[provider]]\ntype = 'okta'",
            "`provider.name`: expected a name of its own (grantlog.toml:1:1)",
        ),
    ] {
        refuses(text, expected);
    }
}

#[test]
fn public_urls_are_https_or_loopback_origins() {
    for (number, url) in [
        "http://auth.example.com",
        "http://10.0.0.1:8080",
        "http://localhost.example.com",
        "ftp://127.0.0.1",
        "https://auth.example.com/path",
        "https://auth.example.com/?query",
        "https://auth.example.com/#fragment",
        "https://user@auth.example.com",
        "auth.example.com",
    ]
    .into_iter()
    .enumerate()
    {
        let section = ["server", "gateway"][number % 2];
        refuses(
            &format!("[{section}]\npublic_url = '{url}'"),
            &format!(
                "`{section}.public_url`: expected an https URL without path, query, fragment or user (http only for a loopback host), found `'{url}'` (grantlog.toml:2:14)"
            ),
        );
    }
    let flags = [("server.listen", "192.0.2.1:80")];
    let given = Given {
        flags: &flags,
        ..Given::default()
    };
    assert_eq!(
        given.resolve().expect_err("expected a refusal").to_string(),
        "`server.public_url` is missing: expected the URL under which 192.0.2.1:80 is reached"
    );
}

#[test]
fn weak_missing_and_default_secrets_are_refused_without_showing_them() {
    let repeated = "a".repeat(40);
    let placeholder = format!("changeme-{}", "0123456789abcdef".repeat(2));
    let spaced = format!("{TOKEN} with spaces");
    let token = "`admin.bootstrap_token`: expected at least 32 random characters";
    let master = "`keys.master_key`: expected 32 random bytes in base64 (openssl rand -base64 32), or a list of such";
    for (text, expected) in [
        (
            "[admin]\nbootstrap_token = 'hunter2'".to_owned(),
            format!("{token}, found 7 characters (grantlog.toml:2:19)"),
        ),
        (
            format!("[admin]\nbootstrap_token = '{repeated}'"),
            format!("{token}, found a repetition (grantlog.toml:2:19)"),
        ),
        (
            format!("[admin]\nbootstrap_token = '{placeholder}'"),
            format!("{token}, found a placeholder (grantlog.toml:2:19)"),
        ),
        (
            format!("[admin]\nbootstrap_token = '{spaced}'"),
            format!("{token}, found characters that no header carries (grantlog.toml:2:19)"),
        ),
        (
            "[keys]\nmaster_key = ''".to_owned(),
            format!("{master}, found nothing (grantlog.toml:2:14)"),
        ),
        (
            "[keys]\nmaster_key = ['hunter2']".to_owned(),
            format!("{master}, found something else as key 1 (grantlog.toml:2:14)"),
        ),
        (
            format!("[keys]\nmaster_key = '{}='", "A".repeat(43)),
            format!("{master}, found a guessable key 1 (grantlog.toml:2:14)"),
        ),
        (
            "[keys]\nmaster_key = 12".to_owned(),
            format!("{master} (grantlog.toml:2:14)"),
        ),
        (
            "[store]\ndatabase_url = 'postgres://u:hunter2@db/g'".to_owned(),
            "`keys.master_key` is missing: expected 32 random bytes in base64 (openssl rand -base64 32), or a list of such".to_owned(),
        ),
        (
            "[store]\ndatabase_url = 'mysql://u:hunter2@db/g'".to_owned(),
            "`store.database_url`: expected a URL that begins with postgres://, found one that cannot be used: it does not begin with postgres:// (grantlog.toml:2:16)".to_owned(),
        ),
        (
            "[store]\ndatabase_url = ''".to_owned(),
            "`store.database_url`: expected a URL that begins with postgres://, found one that cannot be used: it does not begin with postgres:// (grantlog.toml:2:16)".to_owned(),
        ),
        (
            "[admin]\nbootstrap_token = 'x'\nbootstrap_token_file = 'y'".to_owned(),
            "`admin.bootstrap_token` is given twice: expected either the value or the file that holds it (grantlog.toml:3:24)".to_owned(),
        ),
        (
            "[admin]\nbootstrap_token_file = '/nowhere'".to_owned(),
            "cannot read /nowhere: entity not found (grantlog.toml:2:24)".to_owned(),
        ),
        (
            PROVIDER.replace("s3cr3t-in-clear", "your-client-secret"),
            "`provider.company.client_secret`: expected our client secret at the provider, found a placeholder (grantlog.toml:6:17)".to_owned(),
        ),
        (
            PROVIDER.replace("client_secret", "#client_secret"),
            "`provider.company.client_secret` is missing: expected our client secret at the provider".to_owned(),
        ),
    ] {
        refuses(&text, &expected);
        assert!(!expected.contains("hunter2"));
    }
}

#[test]
fn an_empty_secret_variable_is_a_broken_deployment() {
    let given = Given {
        environment: &[("GRANTLOG_ADMIN__BOOTSTRAP_TOKEN", "")],
        ..Given::default()
    };
    assert_eq!(
        given.resolve().expect_err("expected a refusal").to_string(),
        "`admin.bootstrap_token`: expected at least 32 random characters, found 0 characters (GRANTLOG_ADMIN__BOOTSTRAP_TOKEN)"
    );
}

#[test]
fn declared_tables_are_whole_and_apart() {
    let proxy = "[[proxy]]\nname = 'docs'\nupstream_url = 'http://127.0.0.1/mcp'\n";
    for (text, expected) in [
        (
            "[[provider]]\nname = 'a'\ntype = 'keycloak'".to_owned(),
            "`provider.a.type`: expected okta, google, github, azure_ad, oidc or oauth2, found `'keycloak'` (grantlog.toml:3:8)",
        ),
        (
            "[[provider]]\nname = 'a'\ntype = 'okta'".to_owned(),
            "`provider.a.client_id` is missing: expected our client id at the provider",
        ),
        (
            PROVIDER.replace("issuer", "#issuer"),
            "`provider.company`: expected issuer, or authorization_url and token_url (grantlog.toml:2:1)",
        ),
        (
            "[[provider]]\nname = 'a b'\n[[provider]]\nname = 'A-b'".to_owned(),
            "`provider.A-b` is declared twice (grantlog.toml:3:1)",
        ),
        (
            proxy.to_owned(),
            "`proxy.docs.provider` is missing: expected the name of a provider",
        ),
        (
            format!("{proxy}provider = 'a'\nconfig = {{ oauth_proxy_provider_id = 1 }}"),
            "`proxy.docs.provider`: expected either provider or config.oauth_proxy_provider_id, found both (grantlog.toml:1:1)",
        ),
        (
            format!("{proxy}provider = 'a'\nconfig = {{ oauth_proxy_mode = 'passthrough' }}"),
            "`proxy.docs.config.oauth_proxy_mode`: expected gateway, the only mode: the MCP specification forbids to pass a provider's token through, found `'passthrough'` (grantlog.toml:5:31)",
        ),
        (
            format!(
                "{proxy}provider = 'a'\nconfig = {{ oauth_proxy_allowed_redirects = ['http://evil.example/*'] }}"
            ),
            "`proxy.docs.config.oauth_proxy_allowed_redirects`: expected exact URIs, loopback patterns such as http://localhost:* or schemes such as cursor://*, found `['http://evil.example/*']` (grantlog.toml:5:44)",
        ),
        (
            format!(
                "{proxy}provider = 'a'\nconfig = {{ oauth_proxy_upstream_headers = 'hunter2' }}"
            ),
            "`proxy.docs.config.oauth_proxy_upstream_headers`: expected a table of header names and values (grantlog.toml:5:43)",
        ),
    ] {
        refuses(&text, expected);
    }
}

#[test]
fn a_report_shows_the_place_and_nothing_else_of_the_file() {
    let text = "[admin]\nbootstrap_token = 'hunter2-hunter2'\n\n[server]\nlisten = 'x' # hunter2\n";
    let unparsable = "[admin]\nbootstrap_token = 'hunter2\nlisten = 1";
    for (text, line) in [(text, ":5:10"), (unparsable, ":2:"), (&text[..30], ":2:")] {
        let error = file(text).expect_err("expected a refusal");
        assert!(error.to_string().contains(line), "{error}");
        let mut report = String::new();
        miette::GraphicalReportHandler::new()
            .render_report(&mut report, &error)
            .expect("written to memory");
        assert!(report.contains("grantlog.toml"), "{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}
