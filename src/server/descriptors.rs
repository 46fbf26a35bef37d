//! How many connections the system lets this process have.

/// What the stores, their readers, the connections to providers and databases, and health and metrics
/// need, however many clients there are.
const RESERVED: usize = 128;

/// How many connections each kind of listener may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connections {
    /// The authorization server's: a quarter of the descriptors.
    pub server: usize,
    /// The gateway's, each with one to an upstream: the rest.
    pub gateway: usize,
}

impl Connections {
    /// As many as the limit of open files allows.
    pub(super) fn allowed() -> Self {
        #[cfg(unix)]
        let limit = {
            use rustix::process::{Resource, getrlimit};
            getrlimit(Resource::Nofile).current
        };
        #[cfg(not(unix))]
        let limit: Option<u64> = None;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        limit.map_or(Self::of(usize::MAX), Self::of)
    }

    /// As many as so many open files allow; under a limit that is far too low, a few.
    fn of(files: usize) -> Self {
        let files = files.saturating_sub(RESERVED).max(32);
        let server = files / 4;
        let gateway = (files - server) / 2;
        Self { server, gateway }
    }
}

/// Raises the number of open files to what the system allows at most. Each event stream through
/// the gateway takes two, and the usual soft limit, 1024, is there for programs that are old.
pub fn raise_descriptor_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        if limit.current == limit.maximum {
            return;
        }
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(
                error = crate::causes::chain(&error),
                "the number of open files stays at its soft limit"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_descriptors_for_everything_else() {
        for files in [1024, 4096, 1_048_576] {
            let Connections { server, gateway } = Connections::of(files);
            assert_eq!(server + 2 * gateway + RESERVED, files);
        }
        let few = Connections::of(0);
        assert!(few.server > 0 && few.gateway > 0);
        assert!(Connections::of(usize::MAX).gateway > 1_000_000);
    }
}
