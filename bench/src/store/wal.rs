//! Brings a new server to where one is that has been at work for a while: with segments of the WAL that are used again.
use super::{Failed, Server};

impl Server {
    /// Has the server use up so many segments of its WAL (16 MiB each) and free them, so that the next ones need not be made.
    ///
    /// A new server makes each segment by writing zeros before its first use, and whoever commits meanwhile waits for it.
    /// One that has been at work takes those that its checkpoints have freed. It changes `min_wal_size` and needs a
    /// superuser: for servers of a benchmark's own.
    pub async fn reuse_wal(&self, segments: usize) -> Result<(), Failed> {
        let settings = ["ALTER SYSTEM SET min_wal_size = '1GB'", "SELECT pg_reload_conf()"].map(str::to_owned);
        self.ask(&settings).await?;
        // A segment in which nothing was written is not left.
        let leave = "SELECT pg_logical_emit_message(true, 'assent', 'segment'); SELECT pg_switch_wal();\n";
        let script = format!("{}CHECKPOINT;\n", leave.repeat(segments));
        self.run("psql", ["-XqAt", "-v", "ON_ERROR_STOP=1"], &script).await.map(drop)
    }
}
