//! What a grant with one refresh leaves on disk and in the log.

use super::connection::Connection;
use super::flow;
use super::load::{Until, drive};
use super::node::{Place, Surroundings};
use super::oauth::Worker;
use super::report::{Report, SizePerGrant};
use super::{Fallible, Plan};

const GRANTS: usize = 2_000;
const FILES: [&str; 3] = ["log.db", "vault.db", "read.db"];

pub(super) async fn measure(
    plan: &Plan,
    surroundings: Surroundings<'_>,
    report: &mut Report,
) -> Fallible<()> {
    let place = Place::new(surroundings, "size")?;
    let node = place.start().await?;
    let mut registering = Connection::open(&node.host).await?;
    let client = flow::register(&mut registering).await?;
    drop(registering);
    let events_before = node.catch_up().await?;
    node.stop().await?;
    let before = FILES.map(|file| place.size_of(file));

    let node = place.start().await?;
    let nodes = [node];
    let mut workers = Worker::open(plan, &nodes, surroundings.provider).await?;
    let [node] = nodes;
    let grant = async |worker: &mut Worker| {
        let Worker {
            server, provider, ..
        } = worker;
        let code = flow::log_in(server, provider, &client).await?;
        let tokens = flow::redeem(server, &client, &code).await?;
        flow::refresh(server, &client, &tokens.refresh_token).await?;
        Ok(())
    };
    let until = Until::elapsed_or(plan.time * 5, GRANTS);
    let made = drive(&mut workers, &until, node.process(), grant).await?;
    drop(workers);
    let events = node.catch_up().await? - events_before;
    node.stop().await?;
    let grants = made.steps as f64;
    let [log, vault, read_model] = [0, 1, 2].map(|n| {
        let after = place.size_of(FILES[n]);
        after.saturating_sub(before[n]) as f64 / grants
    });
    report.size(&SizePerGrant {
        log,
        vault,
        read_model,
        events: events as f64 / grants,
    });
    Ok(())
}
