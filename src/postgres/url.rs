//! The database URL: what it says about TLS, and what is left for the driver.

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

/// Takes from the URL what the driver does not know.
pub(super) fn split(url: &str) -> Result<(String, Asked), Error> {
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
pub(super) fn each_host(url: &str) -> Vec<String> {
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
    /// What makes connections secure, or nothing if they need not be.
    pub(super) fn tls(self, config: &Config) -> Result<Option<MakeRustlsConnect>, Error> {
        let wanted = match self.mode.as_deref() {
            Some("disable") => false,
            Some("require" | "verify-ca" | "verify-full") => true,
            Some(_) => {
                return Err(Error::Url(
                    "sslmode is not disable, require or verify-full".to_owned(),
                ));
            }
            None => !config.get_hosts().iter().all(is_this_machine),
        };
        if !wanted {
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
        if config.get_ssl_negotiation() == SslNegotiation::Direct {
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
