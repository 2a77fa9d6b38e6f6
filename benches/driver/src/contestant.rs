//! A contestant's process, and what the kernel says of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::Failure;

/// A process that ends with this value.
pub(crate) struct Contestant {
    child: Child,
    id: u32,
    pub(crate) started_at: Instant,
}

impl Contestant {
    /// Starts a command as Lambda does: with an environment of its own. Its output goes to a file.
    pub(crate) fn start(command: &[String], env: &BTreeMap<String, String>, log: &Path) -> Result<Self, Failure> {
        let (program, arguments) = command.split_first().ok_or("an empty command")?;
        let log = File::create(log)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(env);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let started_at = Instant::now();
        let child = command.spawn().map_err(|error| format!("{program} can't be started: {error}"))?;
        let id = child.id().ok_or("the contestant has ended")?;
        Ok(Self { child, id, started_at })
    }

    /// CPU time of all its threads so far, exact while it sleeps.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let mut nanoseconds = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.id))? {
            let statistics = std::fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += statistics.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// The most memory that it has had, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        Ok(peak.ok_or("no peak memory")?.parse::<u64>()? * 1024)
    }

    /// Ends it at once.
    pub(crate) async fn kill(mut self) -> Result<(), Failure> {
        Ok(self.child.kill().await?)
    }

    /// Asks it to end, and waits for that: a profiler then writes what it has counted.
    pub(crate) async fn end(mut self) -> Result<(), Failure> {
        Command::new("kill").arg(self.id.to_string()).status().await?;
        self.child.wait().await?;
        Ok(())
    }
}
