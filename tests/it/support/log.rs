//! A log that tests read.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::Value;
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Level};

use token_harvester::lambda::telemetry;

/// What the program logs, kept.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    /// Captures all that this thread logs while the guard lives.
    pub(crate) fn capture(&self) -> DefaultGuard {
        // As long as there is one subscriber alone, tracing asks the thread that comes by a line first whether the
        // line is of interest to anybody, and that may be another test's.
        static SECOND: LazyLock<Dispatch> =
            LazyLock::new(|| Dispatch::new(telemetry::subscriber(Level::TRACE, std::io::sink)));
        LazyLock::force(&SECOND);
        let writer = self.clone();
        tracing::subscriber::set_default(telemetry::subscriber(Level::TRACE, move || writer.clone()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("a log").clone()).expect("UTF-8")
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a log").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
