//! Schema migrations of the log and the vault: what a store has, what this program knows, whether the two go together.
//!
//! A migration either **expands**: it adds what programs before it need not know, so that they go on reading and writing; or
//! it **contracts**: it takes away what they still use. A store tells how many migrations it has and which contraction was the
//! last. A program that does not know that one must not use the store; any other may, also where the store has more
//! migrations than the program knows. So nodes are upgraded one after the other while the service goes on: expand, replace
//! the nodes, contract.
//!
//! Starting expands and never contracts, but for a store that is new and that no older program can know: contracting is for
//! whoever knows that the last older node has gone.

pub mod postgres;
pub mod sqlite;

/// One step of a schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// What it does.
    pub sql: &'static str,
    /// Whether programs that do not know it cannot use the store after it.
    pub contracts: bool,
    /// Whether programs do without it on an engine that does not know what it makes.
    pub optional: bool,
}

impl Migration {
    /// One that adds what programs before it need not know.
    #[must_use]
    pub const fn expand(sql: &'static str) -> Self {
        Self {
            sql,
            contracts: false,
            optional: false,
        }
    }

    /// One that expands, and without which programs only do more slowly what they do: an engine that cannot take it goes
    /// without.
    #[must_use]
    pub const fn offer(sql: &'static str) -> Self {
        Self {
            optional: true,
            ..Self::expand(sql)
        }
    }

    /// One that takes away what programs before it use.
    #[must_use]
    pub const fn contract(sql: &'static str) -> Self {
        Self {
            contracts: true,
            ..Self::expand(sql)
        }
    }
}

/// How far a store's schema is, as a program sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// How many migrations the store has; 0 if there is no store yet.
    pub applied: u32,
    /// How many the program has.
    pub known: u32,
    /// How many of those the store must have for the program to use it: all but contractions at the end.
    pub needed: u32,
    /// A contraction comes before one of those.
    pub blocked: bool,
    /// How many a program must know to use the store; told where the store has more than this one knows.
    pub minimum: u32,
    /// A move into the store has begun and has not come to its end.
    pub unfinished: bool,
    /// A file's writer was killed in the middle of a transaction: how far it is can only be told once that is taken back.
    pub interrupted: bool,
}

/// Why a program must not use a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Migrations are pending.
    #[error(
        "it has {applied} of {known} migrations: run `grantlog migrate up{}",
        if *.blocked { " --contract` once no older program runs" } else { "`" }
    )]
    Behind {
        /// How many it has.
        applied: u32,
        /// How many this program has.
        known: u32,
        /// One of those that are missing contracts.
        blocked: bool,
    },
    /// A newer program has contracted it.
    #[error(
        "it has {applied} migrations and needs a program that knows {minimum}, this one knows {known}"
    )]
    Ahead {
        /// How many it has.
        applied: u32,
        /// How many a program must know.
        minimum: u32,
        /// How many this program has.
        known: u32,
    },
    /// Not everything that belongs into it is there.
    #[error("a move into it has not come to its end: run `grantlog move` again")]
    Unfinished,
    /// What is there cannot be read before a writer has taken back a part of it.
    #[error(
        "its writer was killed in the middle of a transaction, which the next start of `grantlog serve` takes back"
    )]
    Interrupted,
}

impl Schema {
    /// What a store with `applied` migrations, usable from `minimum` on, is to a program with these.
    #[must_use]
    pub fn new(applied: u32, minimum: u32, migrations: &[Migration]) -> Self {
        let last_to_expand = migrations
            .iter()
            .rposition(|migration| !migration.contracts);
        let needed = last_to_expand.map_or(0, |index| index as u32 + 1);
        let next = due(applied, migrations, false).last();
        Self {
            applied,
            known: migrations.len() as u32,
            needed,
            blocked: next.map_or(applied, |(number, _)| number) < needed,
            minimum,
            unfinished: false,
            interrupted: false,
        }
    }

    /// Whether the program may use the store.
    ///
    /// # Errors
    /// Why not.
    pub fn check(self) -> Result<Self, Unfit> {
        let Self {
            applied,
            known,
            minimum,
            blocked,
            ..
        } = self;
        if self.interrupted {
            Err(Unfit::Interrupted)
        } else if self.unfinished {
            Err(Unfit::Unfinished)
        } else if minimum > known {
            Err(Unfit::Ahead {
                applied,
                minimum,
                known,
            })
        } else if applied < self.needed {
            Err(Unfit::Behind {
                applied,
                known,
                blocked,
            })
        } else {
            Ok(self)
        }
    }

    /// Whether the program may use the store once it has brought it up to date.
    ///
    /// # Errors
    /// Why not.
    pub fn check_but_behind(self) -> Result<Self, Unfit> {
        match self.check() {
            Err(Unfit::Behind { .. }) => Ok(self),
            other => other,
        }
    }

    /// Whether the store may have what the program knows nothing of, and so would not copy.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.applied > self.known
    }
}

/// The migrations to apply next to a store that has `applied`, with their numbers. Without `contract` they end before the
/// next contraction, unless the store is new.
fn due(
    applied: u32,
    migrations: &[Migration],
    contract: bool,
) -> impl Iterator<Item = (u32, &Migration)> {
    let all = contract || applied == 0;
    (1..)
        .zip(migrations)
        .skip(applied as usize)
        .take_while(move |(_, migration)| all || !migration.contracts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPAND: Migration = Migration::expand("");
    const CONTRACT: Migration = Migration::contract("");

    fn numbers(applied: u32, migrations: &[Migration], contract: bool) -> Vec<u32> {
        due(applied, migrations, contract)
            .map(|(number, _)| number)
            .collect()
    }

    #[test]
    fn starting_expands_and_asking_contracts() {
        let all = [EXPAND, EXPAND, CONTRACT, EXPAND];
        assert_eq!(numbers(1, &all, false), [2]);
        assert_eq!(numbers(2, &all, false), [0; 0]);
        assert_eq!(numbers(1, &all, true), [2, 3, 4]);
        assert_eq!(
            numbers(0, &all, false),
            [1, 2, 3, 4],
            "no older program knows a new store"
        );
        assert_eq!(numbers(5, &all, true), [0; 0]);
    }

    #[test]
    fn a_program_may_use_what_it_knows_enough_of() {
        let check = |applied, minimum, migrations: &[Migration]| {
            Schema::new(applied, minimum, migrations).check().err()
        };
        let (known, applied) = (2, 3);
        assert_eq!(check(2, 0, &[EXPAND, EXPAND]), None);
        assert_eq!(
            check(applied, 0, &[EXPAND, EXPAND]),
            None,
            "a newer program expanded it"
        );
        assert_eq!(
            check(applied, 2, &[EXPAND, CONTRACT]),
            None,
            "and contracted what this one knows"
        );
        let minimum = 3;
        assert_eq!(
            check(applied, minimum, &[EXPAND, EXPAND]),
            Some(Unfit::Ahead {
                applied,
                minimum,
                known
            })
        );
        let applied = 1;
        assert_eq!(
            check(applied, 0, &[EXPAND, CONTRACT]),
            None,
            "contracting can wait"
        );
        let behind = |known, blocked| {
            Some(Unfit::Behind {
                applied,
                known,
                blocked,
            })
        };
        assert_eq!(check(applied, 0, &[EXPAND, EXPAND]), behind(2, false));
        let blocked = &[EXPAND, CONTRACT, EXPAND];
        assert_eq!(
            check(applied, 0, blocked),
            behind(3, true),
            "but not if more comes after it"
        );
    }
}
