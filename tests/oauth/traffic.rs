//! Random traffic from outside: whatever happened, the record tells the same story as those who
//! made it happen, and the read models are the fold of the log.

use std::collections::BTreeMap;

use support::{Client, Pkce, Tokens};

use crate::rig::{Rig, refused};

const STEPS: usize = 400;

/// A grant as the client knows it.
struct Known {
    client: usize,
    code: String,
    /// Every refresh token it was ever given; the last is the newest.
    refresh: Vec<String>,
    live: bool,
}

/// What the clients did and were told.
struct World {
    rig: Rig,
    clients: Vec<(Client, bool)>,
    grants: Vec<Known>,
    /// Numbers from a seed (xorshift64), so that every run does the same.
    state: u64,
}

#[tokio::test]
async fn the_record_tells_what_happened() {
    let rig = Rig::start().await;
    let mut world = World {
        rig,
        clients: Vec::new(),
        grants: Vec::new(),
        state: 0x9e37_79b9_7f4a_7c15,
    };
    for _ in 0..STEPS {
        world.step().await;
    }
    world.agrees_with_the_record().await;
}

impl World {
    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % end as u64) as usize
    }

    async fn step(&mut self) {
        let known = self.clients.iter().filter(|(_, there)| *there).count();
        if known < 3 {
            let client = self.rig.client().await;
            return self.clients.push((client, true));
        }
        if self.grants.len() < 5 || self.below(6) == 0 {
            return self.log_in().await;
        }
        let grant = self.below(self.grants.len());
        match self.below(40) {
            0 => self.remove_client(grant).await,
            1 => self.revoke(grant).await,
            2 => self.replay_code(grant).await,
            3 => self.reuse(grant).await,
            4..8 => self.retry(grant).await,
            8..12 => self.present_to_another_client(grant).await,
            _ => self.go_on(grant).await,
        }
    }

    async fn log_in(&mut self) {
        let client = self.below(self.clients.len());
        if self.clients[client].1 {
            let code = self.rig.code(&self.clients[client].0).await;
            self.grants.push(Known {
                client,
                code,
                refresh: Vec::new(),
                live: true,
            });
        }
    }

    /// Redeems the code or refreshes, whichever is next.
    async fn go_on(&mut self, grant: usize) {
        let known = &mut self.grants[grant];
        let client = &self.clients[known.client].0;
        let answer = match known.refresh.last() {
            None => client.redeem(&known.code, &Pkce::rfc7636()).await,
            Some(newest) => client.refresh(newest).await,
        };
        if known.live {
            known.refresh.push(Tokens::of(&answer.expect(200)).refresh);
        } else {
            assert!([400, 401].contains(&answer.status), "{answer:?}");
        }
    }

    /// The last refresh again, as after a lost answer.
    async fn retry(&mut self, grant: usize) {
        let known = &self.grants[grant];
        if let [.., previous, newest] = &known.refresh[..]
            && known.live
        {
            let answer = self.clients[known.client].0.refresh(previous).await;
            assert_eq!(&Tokens::of(&answer.expect(200)).refresh, newest);
        }
    }

    async fn reuse(&mut self, grant: usize) {
        let known = &mut self.grants[grant];
        if let [.., old, _, _] = &known.refresh[..]
            && known.live
        {
            let answer = self.clients[known.client].0.refresh(old).await;
            refused(answer, 400, "invalid_grant");
            known.live = false;
        }
    }

    async fn replay_code(&mut self, grant: usize) {
        let known = &mut self.grants[grant];
        if !known.refresh.is_empty() && known.live {
            let client = &self.clients[known.client].0;
            let answer = client.redeem(&known.code, &Pkce::rfc7636()).await;
            refused(answer, 400, "invalid_grant");
            known.live = false;
        }
    }

    async fn revoke(&mut self, grant: usize) {
        let known = &mut self.grants[grant];
        if let Some(newest) = known.refresh.last()
            && self.clients[known.client].1
        {
            self.clients[known.client]
                .0
                .revoke(newest)
                .await
                .expect(200);
            known.live = false;
        }
    }

    /// A stranger's attempt neither succeeds nor harms.
    async fn present_to_another_client(&mut self, grant: usize) {
        let other = self.below(self.clients.len());
        let known = &self.grants[grant];
        let (client, there) = &self.clients[other];
        if other != known.client && *there {
            let answer = match known.refresh.last() {
                None => client.redeem(&known.code, &Pkce::rfc7636()).await,
                Some(newest) => client.refresh(newest).await,
            };
            refused(answer, 400, "invalid_grant");
        }
    }

    async fn remove_client(&mut self, grant: usize) {
        let gone = self.grants[grant].client;
        let (client, there) = &mut self.clients[gone];
        if std::mem::take(there) {
            let path = format!("/api/v1/clients/{}", client.id);
            self.rig.server.delete(&path).await.expect(204);
            for known in &mut self.grants {
                known.live &= known.client != gone;
            }
        }
    }

    async fn agrees_with_the_record(mut self) {
        let expected: BTreeMap<String, bool> = self
            .grants
            .iter()
            .map(|known| {
                let id = known.code["gw_code_".len()..].split('.').next();
                (id.expect("a grant's id").to_owned(), known.live)
            })
            .collect();
        let lives = expected.values().filter(|live| **live).count();
        assert!(lives > 5 && expected.len() - lives > 5, "{expected:?}");
        let server = &mut self.rig.server;
        let told = |rows: Vec<serde_json::Value>| -> BTreeMap<String, bool> {
            let row = |row: &serde_json::Value| {
                let id = row["grant_id"].as_str().expect("an id").to_owned();
                (id, row["live"].as_bool().expect("a boolean"))
            };
            rows.iter().map(row).collect()
        };
        assert_eq!(told(server.list("/api/v1/grants").await), expected);
        let logins = server.list("/api/v1/logins?outcome=success").await;
        assert_eq!(logins.len(), expected.len());
        server.stop().await;
        let data = server.folder().join("data");
        let data = data.to_str().expect("a path of text");
        for command in [&["verify"][..], &["replay", "--check"]] {
            let arguments = [command, &["--data", data]].concat();
            let output = server.command(&arguments).await;
            assert!(output.status.success(), "{command:?}: {output:?}");
        }
    }
}
