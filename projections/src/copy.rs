//! A copy of a read model that stands still while the original goes on.

use std::path::Path;

use crate::model::open_read_only;
use crate::{ReadModelError, Reader};

/// Copies a read model that may be in use to a new file; returns the next position to fold into
/// the copy.
///
/// # Errors
/// The original is no read model of this version, or the copy cannot be written.
pub fn copy(from: &Path, to: &Path) -> Result<u64, ReadModelError> {
    let db = open_read_only(from)?;
    db.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    Reader::open(to)?.position()
}
