//! Readers that follow the record at a node (server-sent events), and come back to it wherever they
//! were cut off: they see every position once, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use support::{Server, plain_http};
use tokio::task::JoinHandle;

use crate::rig::{Rig, until};

/// One reader at each node.
pub struct Tails(Vec<Tail>);

struct Tail {
    /// The next position it expects.
    next: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Tails {
    pub fn start(rig: &Rig) -> Self {
        Self(rig.nodes.iter().map(Tail::start).collect())
    }

    /// Waits until each has seen everything up to `head`, and ends them.
    pub async fn reach(self, head: u64) {
        until("the readers to see everything", async || {
            let seen = |tail: &Tail| tail.next.load(Ordering::Acquire) > head;
            self.0
                .iter()
                .all(|tail| seen(tail) || tail.task.is_finished())
        })
        .await;
        for tail in self.0 {
            tail.task.abort();
            let ended = tail.task.await;
            assert!(
                ended.is_err_and(|error| error.is_cancelled()),
                "a reader missed something"
            );
        }
    }
}

impl Tail {
    fn start(node: &Server) -> Self {
        let next = Arc::<AtomicU64>::default();
        let url = format!("{}/api/v1/events/stream?since=2020-01-01", node.url);
        let (token, seen) = (node.admin_token.clone(), Arc::clone(&next));
        let task = tokio::spawn(async move {
            loop {
                let request = plain_http().get(&url).bearer_auth(&token);
                let request = match seen.load(Ordering::Acquire) {
                    0 => request,
                    next => request.header("last-event-id", next - 1),
                };
                if let Ok(answer) = request.send().await
                    && answer.status() == 200
                {
                    read(answer, &seen).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { next, task }
    }
}

/// Reads until the stream ends, however it ends.
async fn read(answer: reqwest::Response, next: &AtomicU64) {
    let (mut stream, mut text) = (answer.bytes_stream(), String::new());
    while let Some(Ok(bytes)) = stream.next().await {
        text.push_str(std::str::from_utf8(&bytes).expect("one event is not torn in a character"));
        while let Some((event, rest)) = text.split_once("\n\n") {
            let mut lines = event.lines();
            if let Some(id) = lines.find_map(|line| line.strip_prefix("id: ")) {
                let position: u64 = id.parse().expect("a position");
                let expected = next.fetch_add(1, Ordering::AcqRel);
                assert_eq!(position, expected, "a reader missed a position");
            }
            text = rest.to_owned();
        }
    }
}
