//! What can be seen on this machine: folder, key, store, listeners.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::{Check, store};
use crate::config::{Config, ProviderRef, PublicUrl, is_loopback, unknown_provider};
use crate::vault::MASTER_KEY_FILE;

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let mut checks = vec![data_folder(&config.store.data_dir), master_key(config)];
    checks.extend(config.secret_files.iter().filter_map(|path| exposed(path)));
    checks.push(store::check(config));
    let (server, gateway) = (&config.server, &config.gateway);
    checks.push(listener("server.listen", server.listen));
    checks.push(listener("gateway.listen", gateway.listen));
    checks.push(listener("ops.listen", config.ops.listen));
    checks.extend(exposure("server", server.listen, &server.public_url));
    checks.extend(exposure("gateway", gateway.listen, &gateway.public_url));
    if config.providers.is_empty() || config.proxies.is_empty() {
        checks.push(Check::warning(
            "declared tables",
            "no [[provider]] or no [[proxy]] in the file",
            "declare them, or add them with `grantlog provider add` and `grantlog proxy add`",
        ));
    }
    if let Some(known) = store::provider_names(config) {
        checks.extend(unknown_providers(config, known));
    }
    checks
}

/// Proxies whose provider is neither declared nor in the store, where `known` are by number.
fn unknown_providers(config: &Config, mut known: Vec<Option<String>>) -> Vec<Check> {
    for declared in &config.providers {
        // A new one gets the next number.
        let name = Some(declared.settings.name.clone());
        if !known.contains(&name) {
            known.push(name);
        }
    }
    let names = || known.iter().flatten().cloned();
    let found = config.proxies.iter().filter_map(|proxy| {
        let found = match &proxy.provider {
            ProviderRef::Name(name) => {
                let is_known = names().any(|known| known == *name);
                (!is_known).then(|| unknown_provider(name, names()))
            }
            ProviderRef::Id(id) => {
                let index = usize::try_from(id.0).ok()?.checked_sub(1)?;
                let is_known = known.get(index).is_some_and(Option::is_some);
                (!is_known).then(|| format!("there is no provider {id}"))
            }
        };
        Some((&proxy.name, found?))
    });
    let fix = "declare it as [[provider]], or name one of `grantlog provider list`";
    found
        .map(|(name, found)| Check::failed(format!("provider of {name}"), found, fix))
        .collect()
}

fn data_folder(folder: &Path) -> Check {
    const NAME: &str = "store.data_dir";
    let shown = folder.display().to_string();
    let metadata = match std::fs::metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Check::ok(NAME, format!("{shown} will be made on the first start"));
        }
        Err(error) => {
            return Check::failed(
                NAME,
                format!("{shown}: {error}"),
                "let the program's user in",
            );
        }
    };
    if !metadata.is_dir() {
        return Check::failed(NAME, format!("{shown} is no folder"), "name a folder");
    }
    if metadata.permissions().readonly() {
        let fix = "let the program's user write there";
        return Check::failed(NAME, format!("{shown} is read-only"), fix);
    }
    match mode(&metadata) {
        Some(mode) if mode & 0o077 != 0 => Check::warning(
            NAME,
            format!("{shown} has mode {mode:04o}: others may look in"),
            format!("chmod 700 {shown}"),
        ),
        Some(_) | None => Check::ok(NAME, shown),
    }
}

fn master_key(config: &Config) -> Check {
    const NAME: &str = "keys.master_key";
    if config.keys.master_key.is_some() {
        return Check::ok(NAME, "is set");
    }
    let path = config.store.data_dir.join(MASTER_KEY_FILE);
    let shown = path.display().to_string();
    match std::fs::metadata(&path) {
        Ok(metadata) => match mode(&metadata) {
            Some(mode) if mode & 0o077 != 0 => Check::failed(
                NAME,
                format!("{shown} has mode {mode:04o}: expected 0600"),
                format!("chmod 600 {shown}, and rotate the key if others may have read it"),
            ),
            Some(_) | None => Check::ok(NAME, shown),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Check::ok(NAME, format!("{shown} will be made on the first start"))
        }
        Err(error) => Check::failed(
            NAME,
            format!("{shown}: {error}"),
            "let the program's user in",
        ),
    }
}

/// A file with a secret that others may read, too.
fn exposed(path: &Path) -> Option<Check> {
    let mode = mode(&std::fs::metadata(path).ok()?)?;
    (mode & 0o077 != 0).then(|| {
        let shown = path.display();
        Check::warning(
            "secret file",
            format!("{shown} has mode {mode:04o}: others may read it"),
            format!("chmod 600 {shown}, and give another secret if others may have read it"),
        )
    })
}

#[cfg(unix)]
fn mode(metadata: &std::fs::Metadata) -> Option<u32> {
    Some(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777)
}

#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> Option<u32> {
    None
}

fn listener(name: &str, address: SocketAddr) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(name, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Check::warning(
            name,
            format!("{address} is in use"),
            "nothing, if this service is running; else stop the other program or choose another port",
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Check::failed(
            name,
            format!("{address}: {error}"),
            "choose a port above 1023, or allow the program CAP_NET_BIND_SERVICE",
        ),
        Err(error) => Check::failed(
            name,
            format!("{address}: {error}"),
            "choose an address of this machine",
        ),
    }
}

/// A service that others can reach but that tells everybody to come to 127.0.0.1.
fn exposure(section: &str, listen: SocketAddr, public_url: &PublicUrl) -> Option<Check> {
    let is_local = listen.ip().is_loopback() || !is_loopback(public_url.url());
    (!is_local).then(|| {
        Check::warning(
            format!("{section}.public_url"),
            format!("{public_url} is on this device, but {listen} is reached from outside"),
            format!("set {section}.public_url to the https URL that people use"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn listeners_say_why_they_cannot_be_had() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("bound");
        assert!(listener("x", address).status == Status::Warning);
        let foreign = "192.0.2.1:80".parse().expect("an address");
        assert!(listener("x", foreign).status == Status::Failed);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_fails() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(MASTER_KEY_FILE);
        std::fs::write(&path, "x").expect("written");
        let environment = [(
            "GRANTLOG_STORE__DATA_DIR".to_owned(),
            folder.path().display().to_string(),
        )];
        let config = Config::resolve(crate::config::Sources {
            flags: &Default::default(),
            environment: &environment.into(),
            file: None,
            read: &|_| Err(io::ErrorKind::NotFound.into()),
        })
        .expect("a configuration");
        for (mode, status) in [(0o644, Status::Failed), (0o600, Status::Ok)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("changed");
            assert!(master_key(&config).status == status, "{mode:o}");
        }
    }
}
