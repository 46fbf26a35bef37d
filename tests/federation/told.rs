//! What the operator is told when a provider fails, and what nobody may be told.

use std::io;
use std::sync::{Arc, Mutex};

use domain::provider::Kind;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::fake_provider::{Behaviour, CLIENT_SECRET, Endpoint, FakeProvider, Fault};
use crate::{ATTEMPT, federation, impatient, log_in_as};

/// The program's own log, kept.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panicked").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What is logged when a login fails.
async fn told(behaviour: Behaviour) -> String {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN);
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let fake = FakeProvider::start().await;
    let federation = match behaviour {
        Behaviour::At(_, Fault::Stall) => impatient(),
        _ => federation(),
    };
    fake.behave(behaviour);
    let login = log_in_as(&federation, &fake.settings(Kind::Oidc), &ATTEMPT).await;
    assert!(login.is_err());
    let lines = lines.0.lock().expect("no writer panicked").clone();
    String::from_utf8(lines).expect("text")
}

#[tokio::test]
async fn an_operator_is_told_which_step_failed_and_why() {
    for (endpoint, fault, expected) in [
        (Endpoint::Token, Fault::Status(503), ["token", "503"]),
        (Endpoint::Token, Fault::Status(429), ["token", "429"]),
        (Endpoint::Token, Fault::Stall, ["token", "timed out"]),
        (Endpoint::Token, Fault::Huge, ["token", "1048576 bytes"]),
        (
            Endpoint::Token,
            Fault::Json(400, json!({ "error": "invalid_scope" })),
            ["token", "invalid_scope"],
        ),
        (
            Endpoint::Discovery,
            Fault::Status(500),
            ["discovery", "500"],
        ),
        (
            Endpoint::Discovery,
            Fault::Status(404),
            ["discovery", "404"],
        ),
        (Endpoint::Keys, Fault::Status(502), ["key set", "502"]),
        (Endpoint::Keys, Fault::Html, ["key set", "Syntax"]),
    ] {
        let told = told(Behaviour::At(endpoint, fault.clone())).await;
        for expected in expected {
            assert!(told.contains(expected), "{endpoint:?} {fault:?}: {told}");
        }
        for secret in [
            CLIENT_SECRET,
            "fake-code",
            "fake-access",
            ATTEMPT.code_verifier,
            ATTEMPT.state,
        ] {
            assert!(!told.contains(secret), "{endpoint:?} {fault:?}: {told}");
        }
    }
}

#[tokio::test]
async fn an_operator_is_told_the_code_of_an_error_and_nothing_that_is_none() {
    let scope = told(Behaviour::AuthorizationError("invalid_scope")).await;
    assert!(scope.contains("invalid_scope"), "{scope}");
    let token = told(Behaviour::AuthorizationError("eyJhbGciOi.x.y")).await;
    assert!(token.contains("an error instead of a code"), "{token}");
    assert!(!token.contains("eyJ"), "{token}");
    let denied = told(Behaviour::AuthorizationError("access_denied")).await;
    assert_eq!(denied, "", "a no is no fault");
}
