//! Read models of the past, beside a log that has gone on: everything is told as it was then.

use serde_json::{Value, json};
use support::Server;

use super::rig::Rig;
use super::{Ended, Run};

/// A stopped server in which a person has logged in twice, and the first grant was revoked.
struct Past {
    rig: Rig,
    revoked: String,
    other: String,
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
    let (revoked, other) = (grant(&rig).await, grant(&rig).await);
    let events = rig.server.events("type=grant.*").await;
    let last = events.last().expect("an event");
    let at = last["recorded_at"].as_str().expect("a time").to_owned();
    let last = (last["position"].as_u64().expect("a position"), at);
    revoke(&rig.server, &revoked).await;
    rig.server.stop().await;
    Past {
        rig,
        revoked,
        other,
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

/// A year later every grant has ended by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_live_then_is_told_as_live() {
    let past = past().await;
    let (position, at) = &past.last;
    past.replay(&position.to_string(), "position.db");
    past.replay(at, "time.db");
    past.replay("1000000", "end.db");
    past.replay("2999-01-01", "future.db");
    let later = |arguments: &[&str]| -> Ended {
        let run = past.run(arguments).with("LD_PRELOAD", &support::faketime());
        run.with("FAKETIME", "+400d").end()
    };
    let live = |grant: &str, source: &[&str]| -> Value {
        let show = later(&[&["grant", "show", grant, "--json"], source].concat());
        let shown: Value = serde_json::from_str(show.prints()).expect("JSON");
        assert_eq!(shown["live"] == json!(false), shown["ended_at"].is_string());
        shown["live"].clone()
    };
    for model in ["position.db", "time.db"] {
        for source in [
            &["--read-model", model][..],
            &["--data", "data", "--read-model", model],
        ] {
            assert_eq!(live(&past.revoked, source), true, "{source:?}");
            let lists = [
                &["grant", "list", "--live", "true"][..],
                &["logins", "--since", "-1h"],
            ];
            for list in lists {
                let listed = later(&[list, source].concat());
                assert_eq!(listed.prints().lines().count(), 2, "{list:?} {source:?}");
            }
        }
    }
    for source in [
        &["--data", "data"][..],
        &["--read-model", "end.db"],
        &["--read-model", "future.db"],
    ] {
        assert_eq!(live(&past.other, source), false, "{source:?}");
    }
    let check = past.run(&["replay", "--check", "--data", "data"]).end();
    assert!(check.prints().contains("0 differences"));
}

/// A read model that stood still shows no instant: what it lacks is told, and a story is the log's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_model_that_lags_behind_hides_nothing_of_a_story() {
    let mut rig = Rig::start().await;
    let grant = grant(&rig).await;
    rig.server.stop().await;
    let data = rig.server.folder().join("data");
    std::fs::copy(data.join("read.db"), data.join("then.db")).expect("copied");
    rig.server.start_again().await;
    revoke(&rig.server, &grant).await;
    rig.server.stop().await;
    std::fs::copy(data.join("then.db"), data.join("read.db")).expect("copied");
    let story = ["grant", "story", &grant, "--data", "data"];
    let told = Run::new(&story).inside(rig.server.folder()).end();
    assert!(told.stdout.contains("grant.revoked"), "{told:?}");
    let lacks = "incomplete: data/read.db lacks the last ";
    assert!(told.stderr.starts_with(lacks), "{told:?}");
    assert!(told.stderr.ends_with("the grant has ended\n"), "{told:?}");
}
