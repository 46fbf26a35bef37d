//! Many clients that register, log in, redeem, refresh and call, each step on another node, while
//! a test does its worst. They write down what they were told; [`crate::record`] compares.
//!
//! They take no answer but the right one, or 503 with `Retry-After`, after which they ask again as
//! clients do; only after a long wait may what was answered so have been done. A connection may fail only where a test has said
//! that a node is gone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, header};
use support::{Answer, Client, Params, Pkce, Proxy, Tokens, moved, plain_http};
use tokio::task::JoinHandle;

use crate::rig::{PATIENCE, Rig, try_again_later, until};

/// How often a grant is refreshed before its client logs in anew.
const REFRESHES: usize = 12;

/// A node looks for so long, and a second more, for what became of a commit before it answers 503 without knowing.
const LOOKED_FOR: Duration = Duration::from_secs(5);

pub struct Load {
    world: Arc<World>,
    workers: Vec<JoinHandle<Told>>,
}

/// What the clients share.
struct World {
    proxy: Proxy,
    nodes: Vec<Node>,
    turn: AtomicUsize,
    /// How often there was no answer but 503, or none at all.
    put_off: AtomicUsize,
    ending: AtomicBool,
}

/// A node as they see it.
struct Node {
    url: String,
    gateway_url: String,
    leaving: Mutex<Leaving>,
    /// How many tokens it gave.
    gave: AtomicUsize,
}

/// How a node is about to go, if it is.
#[derive(Clone, Copy, PartialEq)]
pub enum Leaving {
    Stays,
    /// Its connections may fail in the middle of anything.
    Killed,
    /// It may take no more requests; those it took are done and answered.
    Stopped,
}

/// What came of asking a node once.
enum Asked {
    Answered(Answer),
    /// It did not take the request.
    NotTaken,
    /// Nobody knows.
    Lost,
}

/// What a client was told.
#[derive(Default)]
pub struct Told {
    /// Every client that was registered.
    pub clients: Vec<String>,
    /// Every answer with tokens, in their order.
    pub issued: Vec<Tokens>,
    /// Grants whose code was presented again because nobody said what became of it.
    pub doubtful: Vec<String>,
    /// Grants that were revoked on purpose.
    pub revoked: Vec<String>,
    /// Who goes on with the newest token.
    pub last: Option<(Client, Tokens)>,
}

impl Load {
    pub fn start(rig: &Rig, workers: usize) -> Self {
        let nodes = rig.nodes.iter().map(|node| Node {
            url: node.url.clone(),
            gateway_url: node.gateway_url.clone(),
            leaving: Mutex::new(Leaving::Stays),
            gave: AtomicUsize::new(0),
        });
        let world = Arc::new(World {
            proxy: rig.proxy.clone(),
            nodes: nodes.collect(),
            turn: AtomicUsize::new(0),
            put_off: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
        });
        let workers = (0..workers)
            .map(|_| tokio::spawn(Worker::new(Arc::clone(&world)).work()))
            .collect();
        Self { world, workers }
    }

    /// Says how a node is about to go, or that it is back.
    pub fn node(&self, node: usize, leaving: Leaving) {
        *self.world.nodes[node].leaving.lock().expect("no panic") = leaving;
    }

    /// Waits until each of these nodes has given so many more tokens.
    pub async fn goes_on_at(&self, nodes: &[usize], count: usize) {
        let gave = |node: &usize| self.world.nodes[*node].gave.load(Ordering::Acquire);
        let wanted: Vec<usize> = nodes.iter().map(|node| gave(node) + count).collect();
        until("the load to go on", async || {
            nodes
                .iter()
                .map(gave)
                .zip(&wanted)
                .all(|(gave, wanted)| gave >= *wanted)
        })
        .await;
    }

    /// The same at all nodes.
    pub async fn goes_on(&self, count: usize) {
        let all: Vec<usize> = (0..self.world.nodes.len()).collect();
        self.goes_on_at(&all, count).await;
    }

    /// Ends a load that nothing disturbed: nobody was put off.
    pub async fn end_undisturbed(self) -> Vec<Told> {
        let world = Arc::clone(&self.world);
        let told = self.end().await;
        assert_eq!(
            world.put_off.load(Ordering::Acquire),
            0,
            "clients were put off"
        );
        told
    }

    /// Ends it; what the clients were told.
    pub async fn end(self) -> Vec<Told> {
        self.world.ending.store(true, Ordering::Release);
        let mut told = Vec::new();
        for worker in self.workers {
            told.push(worker.await.expect("a client met what no client must meet"));
        }
        told
    }
}

struct Worker {
    world: Arc<World>,
    http: reqwest::Client,
    told: Told,
}

impl Worker {
    fn new(world: Arc<World>) -> Self {
        Self {
            world,
            http: plain_http(),
            told: Told::default(),
        }
    }

    async fn work(mut self) -> Told {
        while !self.is_ending() {
            let client = self.register().await;
            let Some(tokens) = self.log_in(&client).await else {
                continue;
            };
            self.told.last = Some((client, tokens));
            for _ in 0..REFRESHES {
                if self.is_ending() {
                    break;
                }
                self.refresh().await;
            }
        }
        self.told
    }

    fn is_ending(&self) -> bool {
        self.world.ending.load(Ordering::Acquire) && self.told.last.is_some()
    }

    /// Asks one node after the other until it is answered, which it has to be soon; and whether
    /// anything before that answer is in doubt.
    async fn until_answered(&self, request: impl Fn(&Node) -> RequestBuilder) -> (Answer, bool) {
        let began = Instant::now();
        let mut in_doubt = false;
        loop {
            let asked = Instant::now();
            match self.ask(&request).await {
                Asked::Answered(answer) if answer.status != 503 => return (answer, in_doubt),
                Asked::Answered(_) => in_doubt |= asked.elapsed() >= LOOKED_FOR,
                Asked::Lost => in_doubt = true,
                Asked::NotTaken => {}
            }
            assert!(began.elapsed() < PATIENCE, "no end to it");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the node whose turn it is.
    async fn ask(&self, request: impl Fn(&Node) -> RequestBuilder) -> Asked {
        let turn = self.world.turn.fetch_add(1, Ordering::Relaxed);
        let node = &self.world.nodes[turn % self.world.nodes.len()];
        let sent = request(node).send().await;
        let leaving = *node.leaving.lock().expect("no panic");
        let answer = match (sent, leaving) {
            (Ok(response), _) => read(response).await,
            (Err(_), Leaving::Stopped) => return Asked::NotTaken,
            (Err(error), _) => Err(error),
        };
        match answer {
            Ok(answer) => {
                if answer.status == 503 {
                    assert!(leaving != Leaving::Stopped, "{answer:?}");
                    try_again_later(&answer);
                    self.world.put_off.fetch_add(1, Ordering::AcqRel);
                } else if answer.status == 200 {
                    node.gave.fetch_add(1, Ordering::AcqRel);
                }
                Asked::Answered(answer)
            }
            Err(error) => {
                let may_fail = leaving == Leaving::Killed;
                assert!(may_fail, "{} does not answer: {error:?}", node.url);
                self.world.put_off.fetch_add(1, Ordering::AcqRel);
                Asked::Lost
            }
        }
    }

    fn token(&self, node: &Node, params: &Params) -> RequestBuilder {
        let url = moved(&self.world.proxy.issuer, &node.url);
        let form = "application/x-www-form-urlencoded";
        let request = self.http.post(format!("{url}/token"));
        request
            .header(header::CONTENT_TYPE, form)
            .body(params.encode())
    }

    async fn register(&mut self) -> Client {
        let (metadata, proxy) = (support::public_client(), self.world.proxy.clone());
        let (answer, _) = self
            .until_answered(|node| {
                let url = moved(&proxy.issuer, &node.url);
                self.http.post(format!("{url}/register")).json(&metadata)
            })
            .await;
        let client = Client::of(&proxy, answer.expect(201).json());
        self.told.clients.push(client.id.clone());
        client
    }

    /// The first tokens, unless it is not known what became of the code.
    async fn log_in(&mut self, client: &Client) -> Option<Tokens> {
        let (pkce, code) = (Pkce::rfc7636(), self.code(client).await);
        let params = client.redemption(&code, &pkce);
        let (answer, in_doubt) = self.until_answered(|node| self.token(node, &params)).await;
        if in_doubt {
            let grant = code["gw_code_".len()..].split('.').next();
            self.told.doubtful.push(grant.expect("an id").to_owned());
            if answer.status == 400 {
                answer.expect_error(400, "invalid_grant");
                return None;
            }
        }
        let tokens = Tokens::of(&answer.expect(200));
        self.told.issued.push(tokens.clone());
        Some(tokens)
    }

    async fn code(&self, client: &Client) -> String {
        let params = client.authorization(&Pkce::rfc7636());
        let began = Instant::now();
        loop {
            let authorize = client.authorize_url(&params);
            let (asked, _) = self
                .until_answered(|node| self.http.get(moved(&authorize, &node.url)))
                .await;
            let cookie = asked
                .header("set-cookie")
                .split(';')
                .next()
                .unwrap_or_default();
            let provider = asked.header("location").to_owned();
            let back = self
                .http
                .get(provider)
                .send()
                .await
                .expect("the provider answers");
            let back = Answer::read(back).await.header("location").to_owned();
            let answer = self
                .ask(|node| {
                    let request = self.http.get(moved(&back, &node.url));
                    request.header(header::COOKIE, cookie)
                })
                .await;
            // What the provider gave is spent: where nobody answers, it is begun anew.
            if let Asked::Answered(answer) = answer
                && answer.status != 503
            {
                let location = answer.header("location");
                let code = location.strip_prefix(&client.redirect_uri);
                let code = code.and_then(|query| query.strip_prefix("?code="));
                let code = code.and_then(|query| query.split('&').next());
                return code.unwrap_or_else(|| panic!("{answer:?}")).to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "no end to it");
        }
    }

    /// Renews the newest token, which always leads on, and calls with what it got.
    async fn refresh(&mut self) {
        let Some((client, newest)) = self.told.last.take() else {
            return;
        };
        let params = client.authenticated(Params::new([
            ("grant_type", "refresh_token"),
            ("refresh_token", newest.refresh.as_str()),
        ]));
        let (answer, _) = self.until_answered(|node| self.token(node, &params)).await;
        let tokens = Tokens::of(&answer.expect(200));
        self.told.issued.push(tokens.clone());
        let (called, _) = self
            .until_answered(|node| {
                let url = moved(&self.world.proxy.mcp_url, &node.gateway_url);
                self.http.post(url).bearer_auth(&tokens.access)
            })
            .await;
        // Nobody is behind the gateway: it was admitted.
        called.expect(502);
        self.told.last = Some((client, tokens));
    }
}

async fn read(response: reqwest::Response) -> reqwest::Result<Answer> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer {
        status,
        headers,
        body: response.text().await?,
    })
}
