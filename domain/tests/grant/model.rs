//! What a grant must do, said a second time and as plainly as possible: a list of refresh tokens,
//! a list of access tokens, and three flags. It shares no code with the aggregate.

use domain::Timestamp;
use domain::grant::TokenPolicy;
use domain::id::EventId;

/// The grant as an onlooker would keep book of it.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub answered: bool,
    pub granted: Option<Granted>,
    pub dead: bool,
}

#[derive(Clone, Debug)]
pub struct Granted {
    pub end: Timestamp,
    pub code_end: Timestamp,
    pub redeemed: bool,
    /// Generation n is at n - 1.
    pub refresh_tokens: Vec<RefreshToken>,
    pub access_tokens: Vec<AccessToken>,
}

#[derive(Clone, Debug)]
pub struct RefreshToken {
    pub issued_at: Timestamp,
    pub end: Timestamp,
}

#[derive(Clone, Debug)]
pub struct AccessToken {
    pub jti: EventId,
    /// The generation of the refresh token it came with.
    pub generation: usize,
    pub end: Timestamp,
    pub used: bool,
}

/// What a step must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A refusal that changes nothing.
    Refused,
    /// A refusal that ends the grant.
    Killed,
    /// Tokens, with this generation of refresh token (0: none).
    Tokens(usize),
    /// Accepted, and recorded.
    Recorded,
    /// Accepted, and nothing to record.
    Nothing,
}

/// What a redemption or refresh got right.
#[derive(Clone, Copy, Debug)]
pub struct Presented {
    pub by_owner: bool,
    pub secret_is_right: bool,
    pub rest_is_right: bool,
}

impl Model {
    pub fn answer(&self) -> Outcome {
        if self.answered {
            Outcome::Refused
        } else {
            Outcome::Recorded
        }
    }

    pub fn redeem(&self, presented: Presented, may_refresh: bool, now: Timestamp) -> Outcome {
        let Some(granted) = self.alive() else {
            return Outcome::Refused;
        };
        if !presented.by_owner || !presented.secret_is_right {
            return Outcome::Refused;
        }
        if granted.redeemed {
            return Outcome::Killed;
        }
        if !presented.rest_is_right || now >= granted.code_end || now >= granted.end {
            return Outcome::Refused;
        }
        Outcome::Tokens(usize::from(may_refresh))
    }

    pub fn refresh(
        &self,
        generation: usize,
        presented: Presented,
        policy: TokenPolicy,
        now: Timestamp,
    ) -> Outcome {
        let Some(granted) = self.alive() else {
            return Outcome::Refused;
        };
        let newest = granted.refresh_tokens.len();
        if !presented.by_owner || generation == 0 || generation > newest || now >= granted.end {
            return Outcome::Refused;
        }
        let leaf = &granted.refresh_tokens[newest - 1];
        let is_good = presented.rest_is_right && now < leaf.end;
        if generation == newest {
            return if is_good {
                Outcome::Tokens(newest + 1)
            } else {
                Outcome::Refused
            };
        }
        let successor_is_unused = granted
            .access_tokens
            .iter()
            .all(|token| token.generation != newest || !token.used);
        let is_retry = generation == newest - 1
            && successor_is_unused
            && policy.refresh_retry > chrono::TimeDelta::zero()
            && now - leaf.issued_at <= policy.refresh_retry;
        match (is_retry, is_good) {
            (false, _) => Outcome::Killed,
            (true, false) => Outcome::Refused,
            (true, true) => Outcome::Tokens(newest),
        }
    }

    pub fn use_token(&self, jti: EventId) -> Outcome {
        let Some(granted) = self.alive() else {
            return Outcome::Nothing;
        };
        let newest = granted.refresh_tokens.len();
        let known = granted
            .access_tokens
            .iter()
            .any(|token| token.jti == jti && token.generation == newest && token.used);
        if known {
            Outcome::Nothing
        } else {
            Outcome::Recorded
        }
    }

    pub fn renew(&self) -> Outcome {
        match self.alive() {
            Some(_) => Outcome::Recorded,
            None => Outcome::Refused,
        }
    }

    pub fn revoke(&self, by_owner: bool) -> Outcome {
        match &self.granted {
            None => Outcome::Refused,
            Some(_) if !by_owner => Outcome::Refused,
            Some(_) if self.dead => Outcome::Nothing,
            Some(_) => Outcome::Recorded,
        }
    }

    /// The grant, unless it was revoked; it may be past its end.
    pub fn alive(&self) -> Option<&Granted> {
        self.granted.as_ref().filter(|_| !self.dead)
    }

    /// The instants at which something ends.
    pub fn boundaries(&self, policy: TokenPolicy) -> Vec<Timestamp> {
        let granted = self.alive().into_iter();
        granted
            .flat_map(|granted| {
                let leaf = granted.refresh_tokens.last();
                let of_leaf = leaf.map(|leaf| [leaf.end, leaf.issued_at + policy.refresh_retry]);
                let of_code = (!granted.redeemed).then_some(granted.code_end);
                of_leaf
                    .into_iter()
                    .flatten()
                    .chain(of_code)
                    .chain([granted.end])
            })
            .collect()
    }

    /// Keeps book of tokens that were issued.
    pub fn issue(&mut self, generation: usize, jti: EventId, policy: TokenPolicy, now: Timestamp) {
        let granted = self.granted.as_mut().expect("only a grant issues tokens");
        granted.redeemed = true;
        if generation > granted.refresh_tokens.len() {
            granted.refresh_tokens.push(RefreshToken {
                issued_at: now,
                end: granted.end.min(now + policy.refresh_token),
            });
        }
        granted.access_tokens.push(AccessToken {
            jti,
            generation,
            end: granted.end.min(now + policy.access_token),
            used: false,
        });
    }

    /// Keeps book of the use of an access token.
    pub fn mark_used(&mut self, jti: EventId) {
        let tokens = self.granted.iter_mut().flat_map(|g| &mut g.access_tokens);
        for token in tokens.filter(|token| token.jti == jti) {
            token.used = true;
        }
    }
}
