//! Machines whose clocks are an hour apart: order never comes from a clock, and whatever has a time
//! goes by the database's.

use futures_util::future::join_all;
use support::{Setup, Tokens};

use crate::load::Load;
use crate::record;
use crate::rig::{NODES, Rig, Word};
use crate::tails::Tails;

const HOUR_S: i64 = 3600;

/// The first node an hour behind, the second right, the third an hour ahead.
async fn rig() -> Rig {
    Rig::with(async |url| {
        [-HOUR_S, 0, HOUR_S].map(|seconds| Setup::default().database(url).clock(seconds))
    })
    .await
}

/// Codes live for a minute, and a token is valid from when it was issued.
#[tokio::test]
async fn nodes_an_hour_apart_serve_one_flow() {
    let rig = rig().await;
    let (load, tails) = (Load::start(&rig, 6), Tails::start(&rig));
    load.goes_on(20).await;
    let told = load.end_undisturbed().await;
    tails.reach(record::head(&rig.nodes[0]).await).await;
    record::agrees(&rig, told).await;
    let now = now_s();
    for event in rig.nodes[0].events("type=grant.*").await {
        let at = event["recorded_at"].as_str().expect("a time");
        let at = chrono::DateTime::parse_from_rfc3339(at).expect("a time");
        assert!(
            (at.timestamp() - now).abs() < 60,
            "recorded at {at}: {event}"
        );
    }
}

/// The same refresh token at all of them is one refresh: no clock makes a thief of who retries.
#[tokio::test]
async fn nodes_an_hour_apart_agree_on_a_retry() {
    let rig = rig().await;
    let client = rig.client().await;
    let mut newest = rig.log_in(&client).await;
    for _ in 0..3 {
        let refreshing = rig.nodes.in_turn(2 * NODES).map(|node| {
            let (client, token) = (client.at(node), newest.refresh.clone());
            async move { Tokens::of(&client.refresh(&token).await.expect(200)) }
        });
        let all = join_all(refreshing).await;
        for tokens in &all {
            assert_eq!(tokens.refresh, all[0].refresh);
            assert_eq!(rig.words(&tokens.access).await, [Word::Admitted; NODES]);
            let claims = tokens.claims();
            let lives = claims["exp"].as_i64().expect("a time") - now_s();
            assert!((lives - HOUR_S).abs() < 60, "{claims}");
        }
        newest = all[0].clone();
    }
}

/// A machine's clock is set while its node serves, which goes on with the database's.
#[tokio::test]
async fn setting_a_machines_clock_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let set_by = folder.path().join("clock");
    let set = |seconds: i64| std::fs::write(&set_by, format!("{seconds:+}s")).expect("a file");
    set(0);
    let rig = Rig::with(async |url| [Setup::default().database(url).clock_set_by(&set_by)]).await;
    let client = rig.client().await;
    let mut newest = rig.log_in(&client).await;
    for hours in [2, -2, 0] {
        set(hours * HOUR_S);
        for _ in 0..5 {
            assert_eq!(rig.words(&newest.access).await, [Word::Admitted]);
        }
        newest = Tokens::of(&client.refresh(&newest.refresh).await.expect(200));
        let lives = newest.claims()["exp"].as_i64().expect("a time") - now_s();
        assert!((lives - HOUR_S).abs() < 60, "after {hours} h: {lives}");
    }
}

fn now_s() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("it is past 1970");
    since.as_secs().try_into().expect("and long before the end")
}
