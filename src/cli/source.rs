//! Where investigating commands read from: a running server, or a store opened read-only.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::Environment;
use super::exit::Failure;
use super::offline::Store;
use super::remote::Remote;
use crate::postgres;

/// Which server is asked.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Address of the server [default: GRANTLOG_URL, else http://127.0.0.1:8080]. The operator's
    /// token is taken from GRANTLOG_TOKEN or the file GRANTLOG_TOKEN_FILE
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
}

/// Which store is read instead of asking a server.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Store")]
pub struct StoreArgs {
    /// Open the store in this data folder, read-only, instead of asking a server
    #[arg(long, value_name = "DIR", conflicts_with = "database")]
    data: Option<PathBuf>,
    /// Open the store in this PostgreSQL database, read-only, instead of asking a server. The
    /// password is taken from PGPASSWORD, the store's key from GRANTLOG_KEYS__MASTER_KEY
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Read this read model instead of the store's own. One that `grantlog replay --until` made tells
    /// everything as it was then
    #[arg(long, value_name = "FILE")]
    read_model: Option<PathBuf>,
}

impl StoreArgs {
    fn is_named(&self) -> bool {
        self.data.is_some() || self.database.is_some() || self.read_model.is_some()
    }
}

/// A server or a store: the same questions, the same answers.
pub enum Source {
    /// A running server.
    Server(Remote),
    /// A store, or a read model alone.
    Store(Store),
}

impl Source {
    /// What the command line names.
    ///
    /// # Errors
    /// The address or the store cannot be used.
    pub fn open(
        server: &ServerArgs,
        store: &StoreArgs,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        if server.url.is_some() && store.is_named() {
            let reason = "expected --url, or --data, --database or --read-model";
            return Err(Failure::Usage(reason.to_owned()));
        }
        if let Some(url) = &store.database {
            let url = with_password("--database", url, environment)?;
            return Store::in_database(&url, store.read_model.as_deref()).map(Self::Store);
        }
        if store.data.is_some() || store.read_model.is_some() {
            let data = store.data.as_deref();
            return Store::in_folder(data, store.read_model.as_deref()).map(Self::Store);
        }
        Self::server_of(server, environment)
    }

    /// A running server.
    ///
    /// # Errors
    /// Its address cannot be used.
    pub fn server_of(args: &ServerArgs, environment: &Environment) -> Result<Self, Failure> {
        Remote::new(args.url.as_deref(), environment).map(Self::Server)
    }

    /// The answer to a reading request of the investigation API.
    ///
    /// # Errors
    /// The source cannot be reached, or does not know what was asked for.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        match self {
            Self::Server(remote) => remote.send(reqwest::Method::GET, path, query, None).await,
            Self::Store(store) => store.get(path, query).await,
        }
    }

    /// The server, for what only a server does.
    ///
    /// # Errors
    /// A store was named instead.
    pub fn server(&self) -> Result<&Remote, Failure> {
        match self {
            Self::Server(remote) => Ok(remote),
            Self::Store(_) => Err(Failure::Usage(
                "expected a running server: a store is only read".to_owned(),
            )),
        }
    }
}

/// A database URL with the password from the environment: the command line is seen by others.
///
/// # Errors
/// It is none, or has a password.
pub fn with_password(flag: &str, url: &str, environment: &Environment) -> Result<String, Failure> {
    let no_url = || {
        Failure::Usage(format!(
            "{flag}: expected a URL that begins with postgres://"
        ))
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(no_url)?;
    if !matches!(scheme, "postgres" | "postgresql") {
        return Err(no_url());
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    if user.contains(':') || rest.contains("password=") {
        let reason = format!("{flag}: expected no password, it belongs into PGPASSWORD");
        return Err(Failure::Usage(reason));
    }
    postgres::check(url).map_err(|error| Failure::Usage(format!("{flag}: {error}")))?;
    let Some(password) = environment.get("PGPASSWORD") else {
        return Ok(url.to_owned());
    };
    let separator = if rest.contains('?') { '&' } else { '?' };
    let password: String = form_urlencoded::byte_serialize(password.as_bytes()).collect();
    // Where a space is "+" in a form, it is "%20" in a URL.
    Ok(format!(
        "{url}{separator}password={}",
        password.replace('+', "%20")
    ))
}
