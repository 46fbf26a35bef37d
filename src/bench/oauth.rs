//! What clients do at the authorization server: one registered client, its people, their grants.

use std::cell::RefCell;
use std::time::Duration;

use super::bare::Bare;
use super::connection::Connection;
use super::flow::{self, Client, Tokens};
use super::load::{Sample, Until, drive};
use super::node::Node;
use super::{Fallible, Plan};

/// Codes that are redeemed in each round at most; they live for a minute.
const CODES_MAX: usize = 8_000;
/// Long enough for anything that ends by its number.
pub(super) const BOUND: Duration = Duration::from_secs(30);

/// Clients, browsers and their grants.
pub(super) struct World {
    client: Client,
    workers: Vec<Worker>,
}

/// One connection's worth of it.
pub(super) struct Worker {
    pub server: Connection,
    pub provider: Connection,
    grants: Vec<Tokens>,
    /// Whose turn it is.
    next: usize,
}

impl Worker {
    /// As many as there are to be connections, to each node as many as to another.
    pub async fn open(plan: &Plan, nodes: &[Node], provider: &str) -> Fallible<Vec<Self>> {
        let mut workers = Vec::new();
        for node in nodes.iter().cycle().take(plan.connections) {
            workers.push(Self {
                server: Connection::open(&node.host).await?,
                provider: Connection::open(provider).await?,
                grants: Vec::new(),
                next: 0,
            });
        }
        Ok(workers)
    }

    fn next_grant(&mut self) -> (&mut Connection, &mut Tokens) {
        let turn = self.next % self.grants.len();
        self.next += 1;
        (&mut self.server, &mut self.grants[turn])
    }
}

impl World {
    pub async fn open(plan: &Plan, nodes: &[Node], provider: &str) -> Fallible<Self> {
        let mut workers = Worker::open(plan, nodes, provider).await?;
        let client = flow::register(&mut workers[0].server).await?;
        let grant = async |worker: &mut Worker| {
            let Worker {
                server, provider, ..
            } = worker;
            let code = flow::log_in(server, provider, &client).await?;
            let tokens = flow::redeem(server, &client, &code).await?;
            worker.grants.push(tokens);
            Ok(())
        };
        let until = Until::elapsed_or(BOUND, plan.connections * plan.grants);
        drive(&mut workers, &until, nodes[0].process(), grant).await?;
        Ok(Self { client, workers })
    }

    /// So many access tokens of different grants, where there are as many grants.
    pub fn access_tokens(&self, count: usize) -> Vec<String> {
        let each = self.workers.iter().map(|it| it.grants.len()).max();
        let turns = (0..each.unwrap_or(0)).flat_map(|turn| {
            let grants = self.workers.iter().map(move |it| it.grants.get(turn));
            grants.flatten()
        });
        let tokens = turns.map(|tokens| tokens.access_token.clone());
        tokens.cycle().take(count).collect()
    }

    pub async fn refresh(&mut self, plan: &Plan, node: &Node) -> Fallible<Sample> {
        let Self { client, workers } = self;
        let refresh = async |worker: &mut Worker| {
            let (server, tokens) = worker.next_grant();
            *tokens = flow::refresh(server, client, &tokens.refresh_token).await?;
            Ok(())
        };
        let until = Until::elapsed(plan.time);
        drive(workers, &until, node.process(), refresh).await
    }

    pub async fn redeem(&mut self, plan: &Plan, node: &Node) -> Fallible<Sample> {
        let Self { client, workers } = self;
        let codes = RefCell::new(Vec::new());
        let log_in = async |worker: &mut Worker| {
            let Worker {
                server, provider, ..
            } = worker;
            let code = flow::log_in(server, provider, client).await?;
            codes.borrow_mut().push(code);
            Ok(())
        };
        let until = Until::elapsed_or(plan.time * 2, CODES_MAX);
        drive(workers, &until, node.process(), log_in).await?;
        node.catch_up().await?;
        let redeem = async |worker: &mut Worker| {
            let code = codes.borrow_mut().pop();
            if let Some(code) = code {
                flow::redeem(&mut worker.server, client, &code).await?;
            }
            Ok(())
        };
        let until = Until::elapsed_or(BOUND, codes.borrow().len());
        drive(workers, &until, node.process(), redeem).await
    }

    pub async fn register(&mut self, plan: &Plan, node: &Node) -> Fallible<Sample> {
        let register = async |worker: &mut Worker| {
            flow::register(&mut worker.server).await?;
            Ok(())
        };
        let until = Until::elapsed(plan.time);
        drive(&mut self.workers, &until, node.process(), register).await
    }

    pub async fn introspect(&mut self, plan: &Plan, node: &Node) -> Fallible<Sample> {
        let Self { client, workers } = self;
        let introspect = async |worker: &mut Worker| {
            let (server, tokens) = worker.next_grant();
            flow::introspect(server, client, &tokens.access_token).await
        };
        let until = Until::elapsed(plan.time);
        drive(workers, &until, node.process(), introspect).await
    }

    pub async fn whole_flow(&mut self, plan: &Plan, node: &Node) -> Fallible<Sample> {
        let Self { client, workers } = self;
        let whole = async |worker: &mut Worker| {
            let Worker {
                server, provider, ..
            } = worker;
            let code = flow::log_in(server, provider, client).await?;
            flow::redeem(server, client, &code).await?;
            Ok(())
        };
        let until = Until::elapsed(plan.time);
        drive(workers, &until, node.process(), whole).await
    }

    /// The same refresh at the bare endpoint, which accepts it again and again.
    pub async fn bare(&self, plan: &Plan, bare: &Bare) -> Fallible<Sample> {
        let mut connections = Vec::new();
        for _ in 0..plan.connections {
            connections.push(Connection::open(&bare.host).await?);
        }
        let token = &self.workers[0].grants[0].refresh_token;
        let refresh = async |connection: &mut Connection| {
            flow::refresh(connection, &self.client, token).await?;
            Ok(())
        };
        let until = Until::elapsed(plan.time);
        drive(&mut connections, &until, bare.process(), refresh).await
    }
}
