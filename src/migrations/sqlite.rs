//! Migrations of a SQLite file.
//!
//! `user_version` holds both numbers, so that they are read and changed at once and a file made before there were
//! contractions is right as it is: the lower half counts the migrations, the upper half is the last contraction.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, ffi};

use super::{Migration, Schema, due};

const HALF: u32 = 16;

/// A strange process at the file is waited for this long.
const BUSY: Duration = Duration::from_secs(5);

/// How far a file's schema is.
///
/// # Errors
/// It cannot be read.
pub fn schema(connection: &Connection, migrations: &[Migration]) -> rusqlite::Result<Schema> {
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0));
    let version: u32 = match version {
        Err(rusqlite::Error::SqliteFailure(failure, _))
            if failure.extended_code == ffi::SQLITE_READONLY_ROLLBACK =>
        {
            return Ok(Schema {
                interrupted: true,
                ..Schema::new(0, 0, migrations)
            });
        }
        version => version?,
    };
    let (minimum, applied) = (version >> HALF, version & ((1 << HALF) - 1));
    Ok(Schema::new(applied, minimum, migrations))
}

/// Takes back what a killed process left in a rollback journal, as there is one until a file has a WAL: those who only read
/// cannot. Neither file need exist.
///
/// # Errors
/// The file cannot be written.
pub fn recover(path: &Path) -> rusqlite::Result<()> {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    if !(path.exists() && Path::new(&journal).exists()) {
        return Ok(());
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_query_value(None, "user_version", |_| Ok(()))
}

/// Applies what a file lacks in one transaction, contractions only if `contract` or if the file is new. Returns how far it is
/// then, which need not be far enough: see [`Schema::check`].
///
/// # Errors
/// It cannot be written; nothing was applied.
pub fn migrate(
    connection: &mut Connection,
    migrations: &[Migration],
    contract: bool,
) -> rusqlite::Result<Schema> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Schema {
        applied,
        mut minimum,
        ..
    } = schema(&tx, migrations)?;
    for (number, migration) in due(applied, migrations, contract) {
        tx.execute_batch(migration.sql)?;
        if migration.contracts {
            minimum = number;
        }
        tx.pragma_update(None, "user_version", minimum << HALF | number)?;
    }
    let schema = schema(&tx, migrations)?;
    tx.commit()?;
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use super::super::Unfit;
    use super::*;

    const FIRST: Migration = Migration::expand("CREATE TABLE t (old INTEGER) STRICT");
    const EXPAND: Migration = Migration::expand("ALTER TABLE t ADD COLUMN new INTEGER");
    const CONTRACT: Migration = Migration::contract("ALTER TABLE t DROP COLUMN old");
    const RELEASES: [&[Migration]; 3] = [&[FIRST], &[FIRST, EXPAND], &[FIRST, EXPAND, CONTRACT]];

    #[test]
    fn releases_follow_each_other() {
        let mut file = Connection::open_in_memory().expect("a database");
        let as_seen_by = |file: &Connection, release: usize| {
            let schema = schema(file, RELEASES[release]).expect("read");
            (schema.applied, schema.check().err())
        };
        migrate(&mut file, RELEASES[0], false).expect("made");
        let behind = Unfit::Behind {
            applied: 1,
            known: 2,
            blocked: false,
        };
        assert_eq!(as_seen_by(&file, 1), (1, Some(behind)));
        migrate(&mut file, RELEASES[2], false).expect("expanded");
        for release in 0..3 {
            assert_eq!(as_seen_by(&file, release), (2, None));
        }
        file.execute("INSERT INTO t (old) VALUES (1)", [])
            .expect("an older program goes on");
        migrate(&mut file, RELEASES[1], true).expect("nothing to do");
        assert_eq!(as_seen_by(&file, 0), (2, None));
        migrate(&mut file, RELEASES[2], true).expect("contracted");
        for release in 0..2 {
            let known = release as u32 + 1;
            let ahead = Unfit::Ahead {
                applied: 3,
                minimum: 3,
                known,
            };
            assert_eq!(as_seen_by(&file, release), (3, Some(ahead)));
        }
        assert_eq!(as_seen_by(&file, 2), (3, None));
        file.execute("INSERT INTO t (new) VALUES (2)", [])
            .expect("the newest goes on");
    }

    #[test]
    fn a_migration_that_fails_leaves_nothing() {
        let mut file = Connection::open_in_memory().expect("a database");
        let broken = [
            FIRST,
            EXPAND,
            Migration::expand("ALTER TABLE nothing ADD COLUMN x"),
        ];
        assert!(migrate(&mut file, &broken, false).is_err());
        assert_eq!(schema(&file, &broken).expect("read").applied, 0);
    }
}
