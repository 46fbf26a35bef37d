//! An append that is taken back.
//!
//! A full disk lets a row be changed in its place, and refuses an entry once the pages that are there are full. So what shows
//! that there is room is an entry that fits into none of them.

use futures_util::future::join;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::clock;
use crate::postgres::{BEGIN_WRITE, Error, within};

/// No entry is at such a place, and no stream has such a name.
const INSERT: &str =
    "INSERT INTO grantlog_log.entries (position, stream, version, entry) VALUES ($1, '', $1, $2)";

/// So much random content, which does not become shorter, takes several pages.
const KB: usize = 64;

/// Inserts an entry and rolls back.
pub(super) async fn rehearse(client: &Client) -> Result<(), Error> {
    // Nodes that rehearse at once are not in each other's way.
    let position = i64::from_be_bytes(clock::random()) | i64::MIN;
    let entry: Vec<u8> = (0..KB).flat_map(|_| clock::random::<1024>()).collect();
    let values = [(&position as _, Type::INT8), (&entry as _, Type::BYTEA)];
    let answers = async {
        // Alone, or what follows a beginning that failed would stay.
        client.batch_execute(BEGIN_WRITE).await?;
        let inserted = client.execute_typed(INSERT, &values);
        let (inserted, ended) = join(inserted, client.batch_execute("ROLLBACK")).await;
        inserted?;
        ended
    };
    within(answers).await
}
