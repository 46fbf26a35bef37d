//! How many connections the system lets this process have.

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
            tracing::warn!(%error, "the number of open files stays at its soft limit");
        }
    }
}
