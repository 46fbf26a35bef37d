//! Master keys: what wraps every data key. They live outside the store, so that a copy of the
//! store alone opens nothing.
//!
//! Several may be given: the first wraps, all unwrap. Putting a new one in front and re-wrapping
//! (see [`Vault::rewrap`](super::Vault::rewrap)) is a rotation; the old one can then be dropped.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::aead::{AeadKey, Tampered, fields};
use crate::clock;

/// The file in the data folder that holds the key where none is configured.
pub const MASTER_KEY_FILE: &str = "master.key";

/// One or more master keys, ready to wrap and unwrap. Their bytes are not kept.
#[derive(Debug)]
pub struct MasterKeys(Vec<MasterKey>);

#[derive(Debug)]
struct MasterKey {
    id: KeyId,
    key: AeadKey,
}

/// Tells master keys apart without telling anything about them.
pub(super) type KeyId = [u8; 8];

/// Why a master key was not accepted: all of these are configuration errors.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Nothing was given, or there is a vault already but the file with its key is gone.
    #[error(
        "no master key: expected 32 random bytes in base64 in keys.master_key, or in a file that \
         GRANTLOG_KEYS__MASTER_KEY_FILE names"
    )]
    Missing,
    /// Not base64, or not 32 bytes.
    #[error("master key {position} is not a key: expected 32 bytes in base64")]
    Malformed {
        /// Which of the given keys, counted from 1.
        position: usize,
    },
    /// Zeros, a pattern, or text: nobody's random generator made it.
    #[error("master key {position} is guessable: expected 32 random bytes in base64")]
    Weak {
        /// Which of the given keys, counted from 1.
        position: usize,
    },
    /// Others than the owner may read the key file.
    #[error("key file {} has mode {mode:04o}: expected 0600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file could not be read or made.
    #[error("key file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl MasterKeys {
    /// Keys as text: base64, separated by commas or white space; `#` begins a comment.
    ///
    /// # Errors
    /// No key, or one that is malformed or guessable.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let keys = text
            .lines()
            .filter_map(|line| line.split('#').next())
            .flat_map(|line| line.split(|c: char| c == ',' || c.is_whitespace()))
            .filter(|word| !word.is_empty())
            .enumerate()
            .map(|(index, word)| parse_one(word, index + 1))
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(MasterKeyError::Missing);
        }
        Ok(Self(keys))
    }

    /// Keys from a file that only its owner may read.
    ///
    /// # Errors
    /// As [`MasterKeys::parse`]; the file is absent, unreadable, or readable by others.
    pub fn from_file(path: &Path) -> Result<Self, MasterKeyError> {
        let failed = |source| MasterKeyError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = fs::File::open(path).map_err(failed)?;
        refuse_exposed(path, &file.metadata().map_err(failed)?)?;
        let mut text = Zeroizing::new(String::new());
        io::Read::read_to_string(&mut file, &mut text).map_err(failed)?;
        Self::parse(&text)
    }

    /// Keys from `master.key` in the data folder, which is made where there is no vault yet.
    ///
    /// # Errors
    /// As [`MasterKeys::from_file`]; [`MasterKeyError::Missing`] where a vault exists without it:
    /// a new key could not open that vault.
    pub fn in_data_folder(folder: &Path) -> Result<Self, MasterKeyError> {
        let path = folder.join(MASTER_KEY_FILE);
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) if folder.join(super::FILE_NAME).exists() => {
                return Err(MasterKeyError::Missing);
            }
            Ok(false) => {
                create(folder, &path).map_err(|source| MasterKeyError::File {
                    path: path.clone(),
                    source,
                })?;
            }
            Err(source) => return Err(MasterKeyError::File { path, source }),
        }
        Self::from_file(&path)
    }

    /// Keys from `master.key` in the data folder, which must be there.
    ///
    /// # Errors
    /// As [`MasterKeys::from_file`]; [`MasterKeyError::Missing`] where there is none.
    pub fn found_in_data_folder(folder: &Path) -> Result<Self, MasterKeyError> {
        let path = folder.join(MASTER_KEY_FILE);
        if !path.exists() {
            return Err(MasterKeyError::Missing);
        }
        Self::from_file(&path)
    }

    /// Whether the key with this id is among them.
    pub(super) fn know(&self, id: &[u8]) -> bool {
        self.0.iter().any(|master| master.id == id)
    }

    /// Which key wraps.
    pub(super) fn wrapping_id(&self) -> KeyId {
        self.first().id
    }

    /// Wraps a data key under the first master key.
    pub(super) fn wrap(&self, identity: &[u8], data_key: &[u8; 32]) -> Vec<u8> {
        self.first()
            .key
            .seal(&[], &wrap_aad(identity), &[data_key.as_slice()])
    }

    /// Unwraps a data key; `None` where the master key that wrapped it was not given.
    pub(super) fn unwrap(
        &self,
        identity: &[u8],
        wrapped_by: &[u8],
        wrapped: &[u8],
    ) -> Option<Result<Zeroizing<[u8; 32]>, Tampered>> {
        let master = self.0.iter().find(|master| master.id == wrapped_by)?;
        let opened = master.key.open(0, &wrap_aad(identity), wrapped);
        Some(
            opened
                .and_then(|plain| Ok(Zeroizing::new(plain[..].try_into().map_err(|_| Tampered)?))),
        )
    }

    fn first(&self) -> &MasterKey {
        self.0.first().expect("parse refuses an empty list")
    }
}

fn wrap_aad(identity: &[u8]) -> Vec<u8> {
    fields(&[b"data key", identity])
}

fn parse_one(word: &str, position: usize) -> Result<MasterKey, MasterKeyError> {
    let alphabet: &Alphabet = if word.contains(['-', '_']) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(alphabet, lenient)
        .decode(word)
        .map(Zeroizing::new)
        .map_err(|_| MasterKeyError::Malformed { position })?;
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(
        decoded[..]
            .try_into()
            .map_err(|_| MasterKeyError::Malformed { position })?,
    );
    if is_guessable(&bytes) {
        return Err(MasterKeyError::Weak { position });
    }
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice()),
        b"grantlog master key id",
    );
    Ok(MasterKey {
        id: tag.as_ref()[..8]
            .try_into()
            .expect("8 of 32 bytes are 8 bytes"),
        key: AeadKey::new(&bytes),
    })
}

/// Random bytes are printable throughout, evenly spaced or drawn from 16 values less than once in
/// 10¹³ keys; keys that people type always are.
fn is_guessable(bytes: &[u8; 32]) -> bool {
    let distinct = bytes
        .iter()
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    let step = bytes[1].wrapping_sub(bytes[0]);
    let evenly_spaced = bytes
        .windows(2)
        .all(|pair| pair[1].wrapping_sub(pair[0]) == step);
    let text = bytes.iter().all(|b| matches!(b, 0x20..=0x7e));
    distinct <= 16 || evenly_spaced || text
}

#[cfg(unix)]
fn refuse_exposed(path: &Path, metadata: &fs::Metadata) -> Result<(), MasterKeyError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(MasterKeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_exposed(_: &Path, _: &fs::Metadata) -> Result<(), MasterKeyError> {
    Ok(())
}

/// Whole or not at all, and never over another: two processes that start at once share one key.
fn create(folder: &Path, path: &Path) -> io::Result<()> {
    let draft = folder.join(format!(
        ".{MASTER_KEY_FILE}.{}",
        uuid::Uuid::from_bytes(clock::random())
    ));
    let bytes = Zeroizing::new(clock::random::<32>());
    let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(bytes.as_slice()));
    let mut file = super::create_private(&draft)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => fs::File::open(folder)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD as BASE64;

    fn refusal(bytes: &[u8]) -> MasterKeyError {
        MasterKeys::parse(&BASE64.encode(bytes)).expect_err("must be refused")
    }

    #[test]
    fn refuses_what_is_not_a_key() {
        for text in ["", " \n# comment\n", ","] {
            let error = MasterKeys::parse(text).expect_err("must be refused");
            assert!(matches!(error, MasterKeyError::Missing), "{text:?}");
        }
        let short: [u8; 31] = clock::random();
        assert!(matches!(
            refusal(&short),
            MasterKeyError::Malformed { position: 1 }
        ));
        let long: [u8; 33] = clock::random();
        assert!(matches!(refusal(&long), MasterKeyError::Malformed { .. }));
        let error = MasterKeys::parse("changeme!").expect_err("must be refused");
        assert!(matches!(error, MasterKeyError::Malformed { .. }));
    }

    #[test]
    fn refuses_what_anybody_could_guess() {
        let counting: [u8; 32] = std::array::from_fn(|i| i as u8);
        let doubled = [clock::random::<16>(), clock::random::<16>()].map(|half| {
            let mut key = [0; 32];
            key[..16].copy_from_slice(&half);
            key[16..].copy_from_slice(&half);
            key
        });
        let guessable = [
            &[0; 32],
            &[0xff; 32],
            &counting,
            b"change-me-change-me-0123456789ab",
            &doubled[0],
        ];
        for key in guessable {
            assert!(
                matches!(refusal(key), MasterKeyError::Weak { .. }),
                "{key:?}"
            );
        }
    }

    #[test]
    fn the_first_wraps_and_all_unwrap() {
        let [old, new] =
            [clock::random::<32>(), clock::random::<32>()].map(|key| BASE64.encode(key));
        let before = MasterKeys::parse(&old).expect("valid");
        let both = MasterKeys::parse(&format!("{new}, {old}")).expect("valid");
        let after = MasterKeys::parse(&new).expect("valid");
        let wrapped = before.wrap(b"row", &[9; 32]);
        let id = before.wrapping_id();
        let opened = both
            .unwrap(b"row", &id, &wrapped)
            .expect("known")
            .expect("opens");
        assert_eq!(*opened, [9; 32]);
        assert_eq!(
            both.unwrap(b"other row", &id, &wrapped),
            Some(Err(Tampered))
        );
        assert_eq!(after.unwrap(b"row", &id, &wrapped), None);
        assert_eq!(both.wrapping_id(), after.wrapping_id());
    }

    #[test]
    fn the_data_folder_gets_one_private_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = MasterKeys::in_data_folder(folder.path()).expect("made");
        let again = MasterKeys::in_data_folder(folder.path()).expect("read");
        assert_eq!(first.wrapping_id(), again.wrapping_id());
        let names: Vec<_> = fs::read_dir(folder.path()).expect("listed").collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn a_vault_without_its_key_file_is_not_given_a_new_one() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("vault.db"), b"").expect("written");
        let error = MasterKeys::in_data_folder(folder.path()).expect_err("must be refused");
        assert!(matches!(error, MasterKeyError::Missing));
    }

    #[cfg(unix)]
    #[test]
    fn refuses_a_file_that_others_read() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        MasterKeys::in_data_folder(folder.path()).expect("made");
        let path = folder.path().join(MASTER_KEY_FILE);
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            let error = MasterKeys::from_file(&path).expect_err("must be refused");
            assert!(matches!(error, MasterKeyError::Exposed { .. }), "{mode:o}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let text = BASE64.encode(clock::random::<32>());
        let shown = format!("{:?}", MasterKeys::parse(&text).expect("valid"));
        assert!(!shown.contains(&text[..8]));
    }
}
