//! What was begun is finished: whoever asked for it may go away, and the read models may stand still.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::rig::{LoggedIn, Rig};

const PATIENCE: Duration = Duration::from_secs(20);

/// The read models stand still while this is there: somebody else is writing to their file.
struct StandStill(Connection);

impl StandStill {
    fn of(rig: &Rig) -> Self {
        let file = rig.server.folder().join("data").join("read.db");
        let db = Connection::open(file).expect("the file opens");
        db.busy_timeout(PATIENCE).expect("it can be told");
        db.execute_batch("BEGIN IMMEDIATE").expect("it is locked");
        Self(db)
    }

    fn end(self) {
        self.0.execute_batch("ROLLBACK").expect("it was locked");
    }
}

async fn head(rig: &Rig) -> Value {
    rig.server.get("/api/v1/status").await.expect(200).json()["head"].clone()
}

/// Sends a DELETE whose sender goes away once it has shown in the log.
async fn delete_and_go_away(rig: &Rig, path: &str) {
    let before = head(rig).await;
    let address = rig.server.url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.expect("a listener");
    let token = &rig.server.admin_token;
    let request =
        format!("DELETE {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    let sent = connection.write_all(request.as_bytes()).await;
    sent.expect("it is sent");
    while head(rig).await == before {}
    drop(connection);
    head(rig).await;
}

async fn until_revoked(rig: &Rig, logged_in: &[&LoggedIn]) {
    let revoked =
        async { while rig.server.events("type=grant.revoked").await.len() < logged_in.len() {} };
    let revoked = tokio::time::timeout(PATIENCE, revoked).await;
    revoked.expect("every grant is revoked");
}

#[tokio::test]
async fn a_removal_is_finished_though_its_caller_has_gone() {
    let rig = Rig::start().await;
    let (one, other) = (rig.log_in().await, rig.log_in().await);
    let still = StandStill::of(&rig);
    delete_and_go_away(&rig, &format!("/api/v1/clients/{}", one.client.id)).await;
    still.end();
    until_revoked(&rig, &[&one]).await;

    let still = StandStill::of(&rig);
    delete_and_go_away(&rig, "/api/v1/proxies/1").await;
    still.end();
    until_revoked(&rig, &[&one, &other]).await;
}

#[tokio::test]
async fn the_tokens_of_a_removed_client_are_refused_before_its_grants_are_revoked() {
    let rig = Rig::start().await;
    let (one, other) = (rig.log_in().await, rig.log_in().await);
    for logged_in in [&one, &other] {
        assert_eq!(status_at_gateway(&rig, logged_in).await, ADMITTED);
    }
    let text = |name: &str| one.client.registration[name].as_str().expect("text");
    let delete = || {
        let client = reqwest::Client::builder().no_proxy().build();
        client
            .expect("a client")
            .delete(text("registration_client_uri"))
            .bearer_auth(text("registration_access_token"))
            .send()
    };
    let still = StandStill::of(&rig);
    let removed = delete().await.expect("an answer");
    assert_eq!(removed.status(), 204);
    assert_eq!(status_at_gateway(&rig, &one).await, 401);
    assert_eq!(status_at_gateway(&rig, &other).await, ADMITTED);
    assert_eq!(delete().await.expect("an answer").status(), 401);
    still.end();
}

/// The gateway's answer to whom it admits: there is no upstream.
const ADMITTED: u16 = 502;

async fn status_at_gateway(rig: &Rig, logged_in: &LoggedIn) -> u16 {
    let answer = rig.proxy.list_tools(&logged_in.tokens.access).await;
    answer.status
}
