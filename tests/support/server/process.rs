//! What happens to a server's process.

use tokio::process::Command;

use super::{READY_WITHIN, Server};

impl Server {
    /// Ends the server as an orderly stop does (SIGTERM) and waits for it.
    pub async fn stop(&mut self) {
        self.signal("-TERM").await;
        let status = tokio::time::timeout(READY_WITHIN, self.child.wait()).await;
        let status = status
            .expect("the server stops")
            .expect("the server can be waited for");
        assert!(
            status.success(),
            "the server ended with {status}: {}",
            self.log()
        );
    }

    /// Ends the server as a crash does (SIGKILL).
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the server can be killed");
    }

    /// Freezes the server as a stalled machine does (SIGSTOP): connections stay, nobody answers.
    pub async fn pause(&self) {
        self.signal("-STOP").await;
    }

    /// Lets it go on after [`Self::pause`].
    pub async fn resume(&self) {
        self.signal("-CONT").await;
    }

    /// Starts it again on the same data and ports, after [`Self::stop`] or [`Self::kill`].
    pub async fn start_again(&mut self) {
        self.child = self.setup.serve(self.folder.path());
        self.wait_until_ready().await;
    }

    /// Makes every write to a file fail, or no more; for a server that was
    /// [set up](super::Setup::disk_can_fill) so.
    pub async fn fill_disk(&self, full: bool) {
        let limit = if full {
            "--fsize=0:unlimited"
        } else {
            "--fsize=unlimited"
        };
        let limited = Command::new("prlimit")
            .args(["--pid", &self.process_id(), limit])
            .status()
            .await;
        assert!(limited.expect("prlimit runs").success(), "{limit}");
    }

    async fn signal(&self, signal: &str) {
        let id = self.process_id();
        let sent = Command::new("kill").args([signal, &id]).status().await;
        assert!(sent.expect("kill runs").success(), "{signal} is not sent");
    }

    fn process_id(&self) -> String {
        self.child.id().expect("the server runs").to_string()
    }
}
