//! What is being worked on, for log lines.

tokio::task_local! {
    static AT_WORK: AtWork;
}

/// The run, and the source that it works on.
#[derive(Debug, Clone)]
pub struct AtWork {
    /// The invocation's request id.
    pub run_id: String,
    /// Name of the source.
    pub source: String,
}

impl AtWork {
    /// What the current task works on, for the log line of a panic; `None` outside the work on a source.
    pub fn now() -> Option<Self> {
        AT_WORK.try_with(Clone::clone).ok()
    }

    /// Lets [`Self::now`] name this while `work` is done.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        AT_WORK.scope(self.clone(), work).await
    }
}
