//! Server processes that end with the suite, however it ends.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex};

/// The root of the package.
pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A server process. It ends when this is dropped, and when this process ends: its guard reads a pipe.
pub(crate) struct Server {
    guard: Child,
    lifeline: Option<ChildStdin>,
    /// The first line that it printed: what a client must know.
    pub(crate) first_line: String,
}

impl Server {
    /// Starts a command under a guard. Its standard error goes to `<name>.log` in the build folder. With
    /// `announces`, waits for a first line of output, which a server prints once it listens.
    pub(crate) fn start(name: &str, command: &[&str], announces: bool) -> Result<Self, String> {
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        let failed = |reason: String| format!("{name} did not start ({reason}); its log is {}", log.display());
        let output = File::create(&log).map_err(|error| failed(error.to_string()))?;
        let mut guard = Command::new("python3")
            .arg(Path::new(ROOT).join("tests/it/support/guard.py"))
            .args(command)
            .current_dir(ROOT)
            .stdin(Stdio::piped())
            .stdout(if announces { Stdio::piped() } else { Stdio::null() })
            .stderr(output)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let lifeline = guard.stdin.take();
        let mut first_line = String::new();
        if let Some(stdout) = guard.stdout.take() {
            BufReader::new(stdout).read_line(&mut first_line).map_err(|error| failed(error.to_string()))?;
        }
        let server = Self { guard, lifeline, first_line: first_line.trim().to_owned() };
        if announces && server.first_line.is_empty() {
            return Err(failed("it ended at once".to_owned()));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.guard.wait();
    }
}

/// A program of the tests' own environment.
pub(crate) fn tool(name: &str) -> Result<PathBuf, String> {
    let path = Path::new(ROOT).join(".local/venv/bin").join(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{name} is not installed in .local/venv: `make test` installs it"))
    }
}

/// How many AWS emulators serve the suite: each is one interpreter, which uses one core at most.
const AWS_EMULATORS: usize = 2;

/// One of the AWS emulators. The access key of its clients tells a proxy which one a request is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AwsEmulator(usize);

impl AwsEmulator {
    /// The emulators by turns.
    pub(crate) fn next() -> Self {
        Self(unique_number() as usize % AWS_EMULATORS)
    }

    /// The one whose access key stands in an `Authorization` header (AWS Signature Version 4).
    pub(crate) fn of_signature(authorization: &str) -> Option<Self> {
        (0..AWS_EMULATORS)
            .map(Self)
            .find(|emulator| authorization.contains(&format!("Credential={}/", emulator.access_key_id())))
    }

    pub(crate) fn access_key_id(self) -> String {
        format!("test-{}", self.0)
    }

    pub(crate) fn url(self) -> String {
        static SERVERS: [LazyLock<Result<Server, String>>; AWS_EMULATORS] =
            [const { LazyLock::new(|| AwsEmulator::start(0)) }, const { LazyLock::new(|| AwsEmulator::start(1)) }];
        match &*SERVERS[self.0] {
            Ok(server) => format!("http://127.0.0.1:{}", server.first_line),
            Err(reason) => panic!("{reason}"),
        }
    }

    fn start(number: usize) -> Result<Server, String> {
        let python = tool("python")?;
        tool("moto_server")?;
        let script = format!("{ROOT}/tests/it/support/aws_emulator.py");
        Server::start(&format!("aws-emulator-{number}"), &[&python.to_string_lossy(), &script], true)
    }
}

/// A number that no other test of this run has.
pub(crate) fn unique_number() -> u32 {
    static LAST: Mutex<u32> = Mutex::new(0);
    let mut last = LAST.lock().expect("no test panics while counting");
    *last += 1;
    *last
}
