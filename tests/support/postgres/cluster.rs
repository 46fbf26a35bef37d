//! A PostgreSQL server of one test's own.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::standby::folder;
use super::{as_other_user, done, init, is_ready, run_sql, serve, url, wait_for};

/// A PostgreSQL server of one test's own.
pub struct Cluster {
    pub(super) dir: TempDir,
    server: Child,
    options: Vec<String>,
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// Sessions are ended and the server closes in order (`pg_ctl stop -m fast`).
    Fast,
    /// As by a crash: nothing is finished, the next start recovers (`-m immediate`).
    Immediate,
}

impl Cluster {
    /// Makes and starts one, with `options` as on the command line of `postgres`, such as `-cssl=on`.
    pub fn start(options: &[&str]) -> Self {
        let dir = folder();
        init(dir.path());
        Self::start_in(dir, options)
    }

    pub(super) fn start_in(dir: TempDir, options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let server = serve(dir.path(), &options).spawn().unwrap();
        wait_for("a PostgreSQL server to start", || is_ready(dir.path()));
        Self {
            dir,
            server,
            options,
        }
    }

    /// Makes and starts one that listens on a loopback port, too, and has a certificate for `localhost`, `server.crt` in its
    /// folder. The role `by_password` may come that way, and only with TLS and its password, which is `open sesame`.
    pub fn start_with_tls() -> (Self, u16) {
        let dir = folder();
        init(dir.path());
        let mut openssl = as_other_user(dir.path(), "openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]);
        openssl.args([
            "-keyout",
            "server.key",
            "-out",
            "server.crt",
            "-subj",
            "/CN=localhost",
        ]);
        openssl.args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]);
        done(
            &openssl
                .stderr(Stdio::piped())
                .output()
                .expect("these tests need the program openssl"),
        );
        let rules = "local all all trust\nhostssl all by_password all scram-sha-256\n";
        fs::write(dir.path().join("data/pg_hba.conf"), rules).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        fs::write(dir.path().join("port"), port.to_string()).unwrap();
        let port_option = format!("-cport={port}");
        let tls = [
            "-cssl=on",
            "-cssl_cert_file=../server.crt",
            "-cssl_key_file=../server.key",
        ];
        let options = [
            &["-clisten_addresses=localhost", &port_option],
            tls.as_slice(),
        ]
        .concat();
        (Self::start_in(dir, &options), port)
    }

    /// Its folder, which also holds the socket.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where its first database is.
    pub fn url(&self) -> String {
        url(self.dir(), "postgres")
    }

    /// Runs statements as its owner and returns what they say, one row a line.
    pub fn run(&self, sql: &str) -> String {
        run_sql(self.dir(), "postgres", sql)
    }

    /// Stops it; its files stay.
    pub fn stop(&mut self, how: Stop) {
        let signal = match how {
            Stop::Fast => "-INT",
            Stop::Immediate => "-QUIT",
        };
        let pid = self.server.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        self.server.wait().unwrap();
    }

    /// Starts it again after [`stop`](Self::stop).
    pub fn start_again(&mut self) {
        self.server = serve(self.dir.path(), &self.options).spawn().unwrap();
        wait_for("a PostgreSQL server to start", || is_ready(self.dir.path()));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.server.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.stop(Stop::Immediate);
        }
    }
}
