//! The database URL: what it says about TLS, and what is left for the driver.

use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslNegotiation};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Error;

/// What a URL says about TLS.
#[derive(Default)]
pub(super) struct Asked {
    mode: Option<String>,
    roots: Option<PathBuf>,
}

/// Looks whether a URL can be used; reads no file, such as the roots that its TLS may need.
///
/// # Errors
/// What is wrong with it, without the URL.
pub fn check(url: &str) -> Result<(), Error> {
    let (_, asked) = parse(url)?;
    asked.wants_tls().map(drop)
}

/// What the driver is told for each host, and what it does not know.
pub(super) fn parse(url: &str) -> Result<(Vec<Config>, Asked), Error> {
    let (url, asked) = split(url)?;
    let hosts = each_host(&url).into_iter().map(|url| url.parse());
    let hosts: Result<_, _> = hosts.collect();
    Ok((hosts.map_err(|error| Error::Url(reason(&error)))?, asked))
}

/// The driver's words, but not the name of a parameter: a password that was not escaped may stand in its place.
fn reason(error: &tokio_postgres::Error) -> String {
    match error.source().map(ToString::to_string) {
        Some(cause) if cause.starts_with("unknown option") => {
            "one of its parameters is not known".to_owned()
        }
        Some(cause) => cause,
        None => error.to_string(),
    }
}

fn split(url: &str) -> Result<(String, Asked), Error> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(Error::Url("it does not begin with postgres://".to_owned()));
    }
    let mut asked = Asked::default();
    let Some((address, query)) = url.split_once('?') else {
        return Ok((url.to_owned(), asked));
    };
    let mut rest = Vec::new();
    for pair in query.split('&') {
        match form_urlencoded::parse(pair.as_bytes()).next() {
            Some((key, value)) if key == "sslmode" => asked.mode = Some(value.into_owned()),
            Some((key, value)) if key == "sslrootcert" => {
                asked.roots = Some(value.into_owned().into())
            }
            _ => rest.push(pair),
        }
    }
    Ok((format!("{address}?{}", rest.join("&")), asked))
}

/// The URL for each of the hosts it names before its path. Those of a `host` parameter stay together.
fn each_host(url: &str) -> Vec<String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let of = |host| format!("{scheme}://{user}{host}{path}");
    hosts.split(',').map(of).collect()
}

impl Asked {
    /// What the URL says; nothing where it says nothing.
    fn wants_tls(&self) -> Result<Option<bool>, Error> {
        match self.mode.as_deref() {
            None => Ok(None),
            Some("disable") => Ok(Some(false)),
            Some("require" | "verify-ca" | "verify-full") => Ok(Some(true)),
            Some(_) => Err(Error::Url(
                "sslmode is not disable, require or verify-full".to_owned(),
            )),
        }
    }

    /// What makes connections secure, or nothing if they need not be.
    pub(super) fn tls(self, hosts: &[Config]) -> Result<Option<MakeRustlsConnect>, Error> {
        let is_far = || {
            let mut names = hosts.iter().flat_map(Config::get_hosts);
            !names.all(is_this_machine)
        };
        if !self.wants_tls()?.unwrap_or_else(is_far) {
            return Ok(None);
        }
        let unusable =
            |error: &dyn fmt::Display| Error::Url(format!("the roots for its TLS: {error}"));
        let mut roots = rustls::RootCertStore::empty();
        match &self.roots {
            Some(path) => {
                for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unusable(&e))? {
                    let certificate = certificate.map_err(|e| unusable(&e))?;
                    roots.add(certificate).map_err(|e| unusable(&e))?;
                }
            }
            // Those that are unreadable are missed when they are needed.
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| unusable(&e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let is_direct = |host: &Config| host.get_ssl_negotiation() == SslNegotiation::Direct;
        if hosts.iter().any(is_direct) {
            tls.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(Some(MakeRustlsConnect::new(tls)))
    }
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => ["localhost", "127.0.0.1", "::1"].contains(&name.as_str()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Postgres;
    use super::*;

    #[test]
    fn tls_is_on_unless_the_server_is_this_machine_or_the_url_says_so() {
        for (url, tls) in [
            ("postgres://u:p@db.example.com/log", true),
            (
                "postgresql://u:p@db.example.com:6432/log?sslmode=require",
                true,
            ),
            (
                "postgres://u@db.example.com/log?connect_timeout=2&sslmode=disable",
                false,
            ),
            ("postgres://u@localhost/log", false),
            ("postgres://u@127.0.0.1,db.example.com/log", true),
            ("postgres:///log?host=/run/postgresql", false),
        ] {
            assert_eq!(Postgres::new(url, 1).unwrap().0.tls.is_some(), tls, "{url}");
        }
    }

    #[test]
    fn each_host_is_tried_by_itself() {
        for (url, each) in [
            (
                "postgres://u:p@a/log?x=1",
                &["postgres://u:p@a/log?x=1"][..],
            ),
            ("postgres://a:1,b", &["postgres://a:1", "postgres://b"]),
            (
                "postgres://u@[::1]:1,b:2/log",
                &["postgres://u@[::1]:1/log", "postgres://u@b:2/log"],
            ),
            (
                "postgres:///log?host=/a,/b",
                &["postgres:///log?host=/a,/b"],
            ),
        ] {
            assert_eq!(each_host(url), each);
        }
    }

    #[test]
    fn a_url_that_is_refused_is_not_repeated() {
        for url in [
            "mysql://u:hunter2@db/log",
            "postgres://u:hunter2@db:port/log",
            "postgres://u:hunter2@db/log?sslmode=prefer",
            "postgres://u:hunter2@db/log?sslmode=require&sslrootcert=/nowhere",
            "postgres://u:hunter2@db/log?unknown=1",
            "postgres://u:a@b?hunter2=1@db/log",
        ] {
            let error = Postgres::new(url, 1).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(
                matches!(error, Error::Url(_)) && !said.contains("hunter2"),
                "{said}"
            );
        }
        let good = Postgres::new("postgres://u:hunter2@db/log", 1).unwrap();
        assert!(!format!("{good:?}").contains("hunter2"));
    }
}
