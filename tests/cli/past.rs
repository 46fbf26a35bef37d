//! Read models of the past, beside a log that has gone on: everything is told as it was then.

use serde_json::json;
use support::Server;

use super::rig::Rig;
use super::Run;

/// A stopped server in which a person has logged in, and the grant was revoked.
struct Past {
    rig: Rig,
    revoked: String,
    /// Where the last entry before the revocation stands, and when it was recorded.
    last: (u64, String),
}

async fn grant(rig: &Rig) -> String {
    let client = rig.client().await;
    let claims = rig.log_in(&client).await.claims();
    claims["grant"].as_str().expect("a grant").to_owned()
}

async fn revoke(server: &Server, grant: &str) {
    let document = json!({"grant": grant, "reason": "stolen laptop"});
    let path = "/api/v1/revocations";
    server.post(path, &document).await.expect(200);
}

async fn past() -> Past {
    let mut rig = Rig::start().await;
    let revoked = grant(&rig).await;
    let events = rig.server.events("type=grant.*").await;
    let last = events.last().expect("an event");
    let at = last["recorded_at"].as_str().expect("a time").to_owned();
    let last = (last["position"].as_u64().expect("a position"), at);
    revoke(&rig.server, &revoked).await;
    rig.server.stop().await;
    Past {
        rig,
        revoked,
        last,
    }
}

impl Past {
    fn run(&self, arguments: &[&str]) -> Run {
        Run::new(arguments).inside(self.rig.server.folder())
    }

    /// Writes the read models as they were then.
    fn replay(&self, until: &str, into: &str) {
        let replay = ["replay", "--data", "data", "--until", until, "--into", into];
        assert_eq!(self.run(&replay).end().code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_ends_where_the_read_model_does() {
    let past = past().await;
    let (position, at) = &past.last;
    past.replay(&position.to_string(), "position.db");
    past.replay(at, "time.db");
    let story = ["grant", "story", &past.revoked, "--data", "data"];
    for model in ["position.db", "time.db"] {
        let told = past
            .run(&[&story[..], &["--read-model", model]].concat())
            .end();
        assert!(told.stdout.contains("grant.code_redeemed"), "{told:?}");
        assert!(!told.stdout.contains("grant.revoked"), "{told:?}");
        assert_eq!(told.stderr, "the grant is live\n");
    }
    let told = past.run(&story).end();
    assert!(told.stdout.contains("grant.revoked"), "{told:?}");
    assert_eq!(told.stderr, "the grant has ended\n");
    past.replay("0", "before.db");
    let unknown = [&story[..], &["--read-model", "before.db"]].concat();
    past.run(&unknown).end().fails(3, "there is no grant");
}
