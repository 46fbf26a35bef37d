//! A transaction of somebody else that stays open.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use super::{Database, session};

/// A session in the middle of a transaction.
pub struct Held(Child);

impl Held {
    /// Begins one in a database, with a transaction id and a snapshot.
    pub fn transaction(database: &Database) -> Self {
        Self::after(
            database,
            "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO public.other VALUES (1);",
        )
    }

    /// Begins one that has the row of the log's head: nobody appends before it ends.
    pub fn head(database: &Database) -> Self {
        Self::after(
            database,
            "BEGIN; UPDATE grantlog_log.log_head SET next = next;",
        )
    }

    fn after(database: &Database, statements: &str) -> Self {
        database.run("CREATE TABLE IF NOT EXISTS public.other (x integer)");
        let mut session = session(&database.cluster, &database.name);
        session.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut session = session.spawn().unwrap();
        say(&mut session, &format!("{statements} SELECT 'begun';"));
        let mut answer = BufReader::new(session.stdout.take().unwrap()).lines();
        assert_eq!(answer.next().unwrap().unwrap(), "begun");
        Self(session)
    }

    /// Ends it; it must still have been there.
    pub fn commit(mut self) {
        say(&mut self.0, "COMMIT;");
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success(), "it was ended before");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn say(session: &mut Child, line: &str) {
    writeln!(session.stdin.as_mut().unwrap(), "{line}").unwrap();
}
