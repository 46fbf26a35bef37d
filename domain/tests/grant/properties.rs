//! Any interleaving of what clients, thieves, people, providers and operators do to one grant,
//! at any pace, comes to what the model says and keeps what must always hold.

use std::collections::HashSet;

use chrono::TimeDelta;
use domain::event::Event as AnyEvent;
use domain::grant::{
    AccessTokenFirstUsed, Command, DenyConsent, Event, FailLogin, Grant, RevocationReason,
    TokenPolicy,
};
use domain::id::EventId;
use domain::{Aggregate, Fact, Refusal, Timestamp};
use proptest::prelude::*;

use crate::model::{Granted, Model, Outcome, Presented};
use crate::steps::{
    Pause, RedeemFault, RefreshFault, Step, Who, beginning, pause, policy, redeem_command,
    refresh_command, step,
};
use crate::story::{CODE_S, authorize, requested};
use crate::support::{at, id};

/// The real grant, the model of it, and all that was recorded.
#[derive(Default)]
struct Run {
    state: Grant,
    model: Model,
    recorded: Vec<(EventId, Timestamp, Event)>,
    second: i64,
}

impl Run {
    fn now(&self) -> Timestamp {
        at(self.second)
    }

    fn wait(&mut self, pause: &Pause, policy: TokenPolicy) {
        self.second = match pause {
            Pause::Seconds(seconds) => self.second + seconds,
            Pause::Boundary { which, beside } => {
                let boundaries = self.model.boundaries(policy);
                let ahead: Vec<_> = boundaries
                    .into_iter()
                    .filter(|at| *at > self.now())
                    .collect();
                if ahead.is_empty() {
                    return;
                }
                self.second + (*which.get(&ahead) - self.now()).num_seconds() + beside
            }
        };
    }

    fn newest(&self) -> usize {
        self.model
            .granted
            .as_ref()
            .map_or(0, |g| g.refresh_tokens.len())
    }

    fn command(&self, step: &Step, policy: TokenPolicy) -> (Command, Outcome) {
        let (model, now) = (&self.model, self.now());
        match *step {
            Step::LogIn { grant_s } => {
                let mut command = authorize();
                command.grant_lifetime = TimeDelta::seconds(grant_s);
                (Command::Authorize(Box::new(command)), model.answer())
            }
            Step::FailLogin => {
                let (request, reason) = (requested(), "upstream_timeout".to_owned());
                (
                    Command::FailLogin(FailLogin { request, reason }),
                    model.answer(),
                )
            }
            Step::Deny => {
                let request = requested();
                (
                    Command::DenyConsent(DenyConsent { request }),
                    model.answer(),
                )
            }
            Step::Redeem {
                who,
                secret_is_right,
                fault,
                may_refresh,
            } => {
                // A code is worth nothing without its verifier, not even a replay.
                let is_proven = !matches!(
                    fault,
                    Some(RedeemFault::NoVerifier | RedeemFault::WrongVerifier)
                );
                let presented = Presented {
                    by_owner: who == Who::Owner,
                    secret_is_right: secret_is_right && is_proven,
                    rest_is_right: fault.is_none(),
                };
                (
                    redeem_command(who, secret_is_right, fault, may_refresh, policy),
                    model.redeem(presented, may_refresh, now),
                )
            }
            Step::Refresh { who, back, fault } => self.refresh(who, back, fault, policy),
            Step::RefreshFromTheFuture { ahead } => {
                let generation = u32::try_from(self.newest()).expect("few") + ahead;
                (
                    refresh_command(Who::Owner, generation, None, policy),
                    Outcome::Refused,
                )
            }
            Step::Use { back } => {
                let jti = self.access_token(back);
                (Command::RecordAccessTokenUse { jti }, model.use_token(jti))
            }
            Step::RenewUpstream => {
                let expires_at = Some(now);
                (Command::RecordUpstreamRefresh { expires_at }, model.renew())
            }
            Step::RevokeByClient { who } => {
                let (client_id, proxy_id) = (who.client_id(), who.proxy_id());
                (
                    Command::RevokeByClient {
                        client_id,
                        proxy_id,
                    },
                    model.revoke(who == Who::Owner),
                )
            }
            Step::Revoke => {
                let reason = RevocationReason::ClientRemoved;
                (Command::Revoke { reason }, model.revoke(true))
            }
        }
    }

    fn refresh(
        &self,
        who: Who,
        back: u32,
        fault: Option<RefreshFault>,
        policy: TokenPolicy,
    ) -> (Command, Outcome) {
        let presented = Presented {
            by_owner: who == Who::Owner,
            secret_is_right: true,
            rest_is_right: fault.is_none(),
        };
        let newest = u32::try_from(self.newest()).expect("few");
        let generation = newest.saturating_sub(back);
        (
            refresh_command(who, generation, fault, policy),
            self.model
                .refresh(generation as usize, presented, policy, self.now()),
        )
    }

    /// The access token issued this many before the last one, or one that never was.
    fn access_token(&self, back: usize) -> EventId {
        let issued = self
            .model
            .granted
            .iter()
            .flat_map(|g| g.access_tokens.iter().rev());
        issued
            .map(|token| token.jti)
            .nth(back)
            .unwrap_or_else(|| id(i64::MAX))
    }

    /// Takes one step and says what it came to, in the model's words.
    fn take(&mut self, step: &Step, policy: TokenPolicy) -> Result<(), TestCaseError> {
        let (command, expected) = self.command(step, policy);
        let decided = self.state.decide(command, self.now());
        let (outcome, events) = match decided {
            Ok(events) => (outcome(&events), events),
            Err(Refusal { events, .. }) if events.is_empty() => (Outcome::Refused, events),
            Err(Refusal { events, .. }) => (Outcome::Killed, events),
        };
        prop_assert_eq!(
            outcome,
            expected,
            "{:?} at {} gave {:?}",
            step,
            self.now(),
            events
        );
        self.keep_book(step, outcome, policy, events.first());
        for event in events {
            self.record(event);
        }
        Ok(())
    }

    fn keep_book(
        &mut self,
        step: &Step,
        outcome: Outcome,
        policy: TokenPolicy,
        first: Option<&Event>,
    ) {
        let now = self.now();
        match (outcome, step, first) {
            (Outcome::Tokens(generation), _, _) => {
                self.model.issue(generation, self.next_id(), policy, now);
            }
            (Outcome::Killed, _, _)
            | (Outcome::Recorded, Step::Revoke | Step::RevokeByClient { .. }, _) => {
                self.model.dead = true;
            }
            (Outcome::Recorded, Step::LogIn { grant_s }, _) => {
                self.model.answered = true;
                self.model.granted = Some(Granted {
                    end: now + TimeDelta::seconds(*grant_s),
                    code_end: now + TimeDelta::seconds(CODE_S),
                    redeemed: false,
                    refresh_tokens: Vec::new(),
                    access_tokens: Vec::new(),
                });
            }
            (Outcome::Recorded, Step::FailLogin | Step::Deny, _) => self.model.answered = true,
            (_, _, Some(Event::AccessTokenFirstUsed(AccessTokenFirstUsed { jti }))) => {
                self.model.mark_used(*jti);
            }
            _ => {}
        }
    }

    fn next_id(&self) -> EventId {
        id(i64::try_from(self.recorded.len()).expect("few"))
    }

    fn record(&mut self, event: Event) {
        let (id, at) = (self.next_id(), self.now());
        self.state = std::mem::take(&mut self.state).evolve(Fact {
            id,
            at,
            event: &event,
        });
        self.recorded.push((id, at, event));
    }

    /// What must hold after every step, read off the grant and the record alone.
    fn check(&self) -> Result<(), TestCaseError> {
        let now = self.now();
        match self.model.alive() {
            None => {
                prop_assert!(!self.state.is_in_force(now));
                prop_assert!(self.state.leaf().is_none());
            }
            Some(granted) => {
                prop_assert_eq!(self.state.is_in_force(now), now < granted.end);
                let authorization = self.state.authorization().expect("a grant");
                prop_assert_eq!(authorization.expires_at, granted.end, "the end never moves");
                prop_assert_eq!(
                    self.state
                        .leaf()
                        .map(|leaf| (leaf.generation as usize, leaf.expires_at)),
                    granted
                        .refresh_tokens
                        .last()
                        .map(|t| (granted.refresh_tokens.len(), t.end)),
                    "the one live leaf"
                );
                for token in &granted.access_tokens {
                    prop_assert!(token.end <= granted.end);
                }
            }
        }
        Ok(())
    }

    /// What must hold for the whole record, by itself.
    fn check_record(&self) -> Result<(), TestCaseError> {
        let mut end = None;
        let (mut redemptions, mut generation, mut is_over) = (0, 0, false);
        let mut used = HashSet::new();
        for (_, at, event) in &self.recorded {
            prop_assert!(!is_over, "nothing is recorded after the end: {event:?}");
            let issued = match event {
                Event::LoginSucceeded(login) => {
                    end = Some(login.expires_at);
                    None
                }
                Event::CodeRedeemed(tokens) => {
                    redemptions += 1;
                    generation = 1;
                    Some(tokens.access_token_expires_at)
                }
                Event::RefreshTokenRotated(tokens) => {
                    generation += 1;
                    prop_assert_eq!(tokens.generation, generation);
                    prop_assert!(Some(tokens.expires_at) <= end && tokens.expires_at > *at);
                    used.clear();
                    Some(tokens.access_token_expires_at)
                }
                Event::RefreshTokenRetried(tokens) => {
                    prop_assert_eq!(tokens.generation, generation, "the same successor");
                    prop_assert!(used.is_empty(), "no retry once the successor was used");
                    Some(tokens.access_token_expires_at)
                }
                Event::AccessTokenFirstUsed(first) => {
                    if self.came_with(first.jti) == Some(generation) {
                        prop_assert!(used.insert(first.jti), "first use is recorded once");
                    }
                    None
                }
                Event::LoginFailed(_) | Event::ConsentDenied(_) | Event::Revoked(_) => {
                    is_over = true;
                    None
                }
                Event::CodeIssued(_)
                | Event::CodeReplayed(_)
                | Event::RefreshTokenReused(_)
                | Event::UpstreamTokenRefreshed(_) => None,
            };
            prop_assert!(issued.is_none_or(|until| Some(until) <= end && until > *at));
        }
        prop_assert!(redemptions <= 1);
        Ok(())
    }

    /// The generation of refresh token that an access token came with.
    fn came_with(&self, jti: EventId) -> Option<u32> {
        self.recorded.iter().find_map(|(id, _, event)| match event {
            Event::CodeRedeemed(_) if *id == jti => Some(1),
            Event::RefreshTokenRotated(tokens) if *id == jti => Some(tokens.generation),
            Event::RefreshTokenRetried(tokens) if *id == jti => Some(tokens.generation),
            _ => None,
        })
    }

    /// The record, written and read again, folds to the state that was reached step by step.
    fn check_replay(&self) -> Result<(), TestCaseError> {
        let mut replayed = Grant::default();
        for (id, at, event) in &self.recorded {
            let event = AnyEvent::from(event.clone());
            let data = serde_json::to_string(&event).expect("events serialize");
            let read = AnyEvent::decode(event.name(), event.schema(), &data).expect("own data");
            let read = Event::try_from(read).expect("an event of a grant");
            replayed = replayed.evolve(Fact {
                id: *id,
                at: *at,
                event: &read,
            });
        }
        prop_assert_eq!(&replayed, &self.state);
        Ok(())
    }
}

fn outcome(events: &[Event]) -> Outcome {
    match events.first() {
        None => Outcome::Nothing,
        Some(Event::CodeRedeemed(tokens)) => {
            Outcome::Tokens(usize::from(tokens.refresh_token.is_some()))
        }
        Some(Event::RefreshTokenRotated(tokens)) => Outcome::Tokens(tokens.generation as usize),
        Some(Event::RefreshTokenRetried(tokens)) => Outcome::Tokens(tokens.generation as usize),
        Some(_) => Outcome::Recorded,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_keeps_the_promises(
        policy in policy(),
        beginning in beginning(),
        steps in prop::collection::vec((pause(), step()), 1..60),
    ) {
        let mut run = Run::default();
        for step in &beginning {
            run.take(step, policy)?;
        }
        for (pause, step) in &steps {
            run.wait(pause, policy);
            run.take(step, policy)?;
            run.check()?;
        }
        run.check_record()?;
        run.check_replay()?;
    }
}
