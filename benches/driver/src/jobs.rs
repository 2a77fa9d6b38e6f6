//! What is measured.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::LocalSet;

use crate::Failure;
use crate::aws::{self, State};
use crate::contestant::Contestant;
use crate::lambda::{Lambda, Waiting};
use crate::token_endpoint::TokenEndpoint;

/// The lifetime of a token that is due as soon as it is issued, by the function's rule and by the peer's: 10 min that jobs
/// can count on and 15 min to the next run.
const ALWAYS_DUE_SECONDS: u64 = 1_500;

/// The most bytes of a secret.
const SECRET_BYTES: usize = 65_536;

/// How long a contestant that has asked for its next event is given to go to sleep.
const SETTLE: Duration = Duration::from_millis(5);

/// A job, its files in a folder of its own.
#[derive(Deserialize)]
pub(crate) struct Job {
    folder: PathBuf,
    /// Where AWS is, and variables beside it; unset: played by the driver.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    task: Task,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Task {
    /// Contestants in turn, again and again: a cold start with one harvest, then warm ones.
    Compare { contestants: Vec<Entry>, rounds: usize, warm: usize },
    /// One source, in an AWS that somebody else plays: `environment` says where. Prints the definition, waits for a
    /// line on standard input, lets one contestant after the other harvest.
    Harvest { contestants: Vec<Entry> },
    /// The function with ever more sources, all due and then all fresh.
    Grow { function: Vec<String>, sources: Vec<usize>, rounds: usize, delay_ms: u64 },
    /// As many sources due, and as many requests without anything else, in turn.
    Requests {
        function: Vec<String>,
        requests: Vec<String>,
        sources: usize,
        at_once: usize,
        rounds: usize,
        delay_ms: u64,
    },
    /// One process, this many harvests, ended so that a profiler can write its file.
    Profile { command: Vec<String>, harvests: usize },
}

/// Who is measured.
#[derive(Deserialize)]
struct Entry {
    name: String,
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    event: Value,
}

/// One round of one contestant; times in seconds, memory in bytes.
#[derive(Serialize)]
struct Round {
    cold_init: f64,
    cold_start: f64,
    cold_init_cpu: f64,
    cold_start_cpu: f64,
    warm_wall: Vec<f64>,
    warm_cpu: Vec<f64>,
    peak_memory: u64,
}

/// Everything around a contestant.
struct Stage {
    job_environment: BTreeMap<String, String>,
    folder: PathBuf,
    aws: Rc<RefCell<State>>,
    aws_address: SocketAddr,
    tokens: TokenEndpoint,
    lambda: Lambda,
}

/// Runs a job, and returns what it measured.
pub(crate) async fn run(job: Job) -> Result<Value, Failure> {
    LocalSet::new().run_until(measure(job)).await
}

async fn measure(job: Job) -> Result<Value, Failure> {
    std::fs::create_dir_all(&job.folder)?;
    let aws = Rc::new(RefCell::new(State::default()));
    let mut stage = Stage {
        job_environment: job.environment,
        aws_address: aws::start(Rc::clone(&aws)).await?,
        tokens: TokenEndpoint::start(&job.folder.join("root.pem")).await?,
        lambda: Lambda::start().await?,
        folder: job.folder,
        aws,
    };
    match job.task {
        Task::Compare { contestants, rounds, warm } => stage.compare(&contestants, rounds, warm).await,
        Task::Harvest { contestants } => stage.harvest(&contestants).await,
        Task::Grow { function, sources, rounds, delay_ms } => {
            stage.tokens.delay.set(Duration::from_millis(delay_ms));
            stage.grow(&function, &sources, rounds).await
        }
        Task::Requests { function, requests, sources, at_once, rounds, delay_ms } => {
            stage.tokens.delay.set(Duration::from_millis(delay_ms));
            stage.requests(&function, &requests, sources, at_once, rounds).await
        }
        Task::Profile { command, harvests } => stage.profile(&command, harvests).await,
    }
}

impl Stage {
    /// The definition of the one source, or of one of many.
    fn definition(&self) -> Value {
        json!({
            "token_endpoint": self.tokens.url(),
            "client_id": "data-jobs",
            "client_secret": "correct-horse-battery-staple",
            "scope": "crm.read",
        })
    }

    /// One source, whose token is due again in each run: nobody has to ask for it.
    fn define_one(&self) {
        self.tokens.lifetime.set(ALWAYS_DUE_SECONDS);
        let mut aws = self.aws.borrow_mut();
        aws.secrets = vec![("token-harvester/acme-crm".to_owned(), self.definition().to_string())];
        aws.forget_objects();
    }

    /// Sources packed into as few secrets as hold them.
    fn define(&self, count: usize) {
        self.tokens.lifetime.set(3_600);
        let definition = self.definition().to_string();
        let room = SECRET_BYTES - r#"{"sources":{}}"#.len();
        let mut secrets = Vec::new();
        let mut packed = String::new();
        let pack = |packed: &mut String, secrets: &mut Vec<(String, String)>| {
            let name = format!("token-harvester/packed-{:03}", secrets.len());
            secrets.push((name, format!(r#"{{"sources":{{{}}}}}"#, std::mem::take(packed))));
        };
        for number in 0..count {
            let entry = format!(r#""source-{number:05}":{definition}"#);
            if packed.len() + entry.len() + 1 > room {
                pack(&mut packed, &mut secrets);
            }
            if !packed.is_empty() {
                packed.push(',');
            }
            packed.push_str(&entry);
        }
        pack(&mut packed, &mut secrets);
        let mut aws = self.aws.borrow_mut();
        aws.secrets = secrets;
        aws.forget_objects();
    }

    fn environment(&self, further: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let own = [
            ("AWS_LAMBDA_RUNTIME_API", self.lambda.address.to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", "bench".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128".to_owned()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "group".to_owned()),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "stream".to_owned()),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_DEFAULT_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "bench".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "bench".to_owned()),
            ("AWS_SESSION_TOKEN", "bench".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://{}", self.aws_address)),
            ("SSL_CERT_FILE", self.folder.join("root.pem").display().to_string()),
            ("TOKEN_BUCKET", "acme-tokens".to_owned()),
            ("STATE_BUCKET", "acme-state".to_owned()),
            ("TOPIC_ARN", "arn:aws:sns:eu-central-1:123456789012:token-harvester".to_owned()),
            ("ENVIRONMENT", "bench".to_owned()),
            ("SECRET_ID", "token-harvester/acme-crm".to_owned()),
            ("SOURCE", "acme-crm".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("TZ", ":UTC".to_owned()),
        ];
        let mut environment: BTreeMap<_, _> = own.map(|(name, value)| (name.to_owned(), value)).into();
        environment.extend(self.job_environment.clone());
        environment.extend(further.clone());
        environment
    }

    fn start(&mut self, command: &[String], further: &BTreeMap<String, String>) -> Result<Contestant, Failure> {
        self.lambda.forget();
        Contestant::start(command, &self.environment(further), &self.folder.join("contestant.log"))
    }

    async fn compare(&mut self, contestants: &[Entry], rounds: usize, warm: usize) -> Result<Value, Failure> {
        let mut measured: BTreeMap<String, Vec<Round>> = BTreeMap::new();
        // The first round is not counted: it reads programs from disk, and Python writes its compiled modules.
        for round in 0..=rounds {
            for contestant in contestants {
                let failed = |error: Failure| format!("{}: {error}", contestant.name);
                let figures = self.round(contestant, if round == 0 { 1 } else { warm }).await.map_err(failed)?;
                if round > 0 {
                    measured.entry(contestant.name.clone()).or_default().push(figures);
                }
            }
        }
        Ok(serde_json::to_value(measured)?)
    }

    async fn round(&mut self, contestant: &Entry, warm: usize) -> Result<Round, Failure> {
        self.define_one();
        let process = self.start(&contestant.command, &contestant.environment)?;
        let (waiting, cold_init_cpu) = self.settled(&process).await?;
        let cold_init = waiting.since - process.started_at;
        let (given_at, answered_at, report) = self.lambda.invoke(waiting, json!({})).await?;
        check(&report)?;
        // What the driver waited before it gave the event is nobody's.
        let cold_start = cold_init + (answered_at - given_at);
        let (mut waiting, mut cpu) = self.settled(&process).await?;
        let cold_start_cpu = cpu;
        let (mut warm_wall, mut warm_cpu) = (Vec::new(), Vec::new());
        for _ in 0..warm {
            let (given_at, answered_at, report) = self.lambda.invoke(waiting, json!({})).await?;
            check(&report)?;
            warm_wall.push((answered_at - given_at).as_secs_f64());
            let before = cpu;
            (waiting, cpu) = self.settled(&process).await?;
            warm_cpu.push(cpu.saturating_sub(before).as_secs_f64());
        }
        let peak_memory = process.peak_memory()?;
        process.kill().await?;
        Ok(Round {
            cold_init: cold_init.as_secs_f64(),
            cold_start: cold_start.as_secs_f64(),
            cold_init_cpu: cold_init_cpu.as_secs_f64(),
            cold_start_cpu: cold_start_cpu.as_secs_f64(),
            warm_wall,
            warm_cpu,
            peak_memory,
        })
    }

    /// The contestant's request for its next event, and its CPU time once it sleeps.
    async fn settled(&mut self, process: &Contestant) -> Result<(Waiting, Duration), Failure> {
        let waiting = self.lambda.next().await?;
        tokio::time::sleep(SETTLE).await;
        Ok((waiting, process.cpu()?))
    }

    async fn harvest(&mut self, contestants: &[Entry]) -> Result<Value, Failure> {
        println!("{}", self.definition());
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        let mut reports = Vec::new();
        for contestant in contestants {
            let process = self.start(&contestant.command, &contestant.environment)?;
            let waiting = self.lambda.next().await?;
            let (_, _, report) = self.lambda.invoke(waiting, contestant.event.clone()).await?;
            check(&report)?;
            process.kill().await?;
            reports.push(report);
        }
        Ok(Value::Array(reports))
    }

    async fn grow(&mut self, function: &[String], sources: &[usize], rounds: usize) -> Result<Value, Failure> {
        let mut measured = Vec::new();
        for &count in sources {
            for _ in 0..rounds {
                self.define(count);
                for state in ["due", "fresh"] {
                    measured.push(self.harvest_many(function, count, state).await?);
                }
            }
        }
        Ok(Value::Array(measured))
    }

    /// One cold function, one event.
    async fn harvest_many(&mut self, function: &[String], count: usize, state: &str) -> Result<Value, Failure> {
        let process = self.start(function, &BTreeMap::new())?;
        let (waiting, cpu_before) = self.settled(&process).await?;
        self.aws.borrow_mut().take_calls();
        self.tokens.requests.set(0);
        let (given_at, answered_at, report) = self.lambda.invoke(waiting, json!({})).await?;
        let (_, cpu) = self.settled(&process).await?;
        let expected = if state == "due" { "refreshed" } else { "fresh" };
        if report[expected] != count {
            return Err(format!("{} of {count} sources are {expected}", report[expected]).into());
        }
        let measured = json!({
            "sources": count,
            "state": state,
            "wall": (answered_at - given_at).as_secs_f64(),
            "cpu": cpu.saturating_sub(cpu_before).as_secs_f64(),
            "peak_memory": process.peak_memory()?,
            "calls": self.aws.borrow_mut().take_calls(),
            "token_requests": self.tokens.requests.get(),
        });
        process.kill().await?;
        Ok(measured)
    }

    async fn requests(
        &mut self,
        function: &[String],
        requests: &[String],
        count: usize,
        at_once: usize,
        rounds: usize,
    ) -> Result<Value, Failure> {
        let further = [self.tokens.url(), self.folder.join("root.pem").display().to_string()];
        let further = further.into_iter().chain([count.to_string(), at_once.to_string()]);
        let requests: Vec<String> = requests.iter().cloned().chain(further).collect();
        let (mut alone, mut harvests) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let output = Command::new(&requests[0]).args(&requests[1..]).kill_on_drop(true).output().await?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
            }
            alone.push(String::from_utf8(output.stdout)?.trim().parse::<f64>()?);
            self.define(count);
            harvests.push(self.harvest_many(function, count, "due").await?["wall"].clone());
        }
        Ok(json!({"requests": alone, "harvests": harvests}))
    }

    async fn profile(&mut self, command: &[String], harvests: usize) -> Result<Value, Failure> {
        self.define_one();
        let process = self.start(command, &BTreeMap::new())?;
        let mut waiting = self.lambda.next().await?;
        for _ in 0..harvests {
            let (_, _, report) = self.lambda.invoke(waiting, json!({})).await?;
            check(&report)?;
            waiting = self.lambda.next().await?;
        }
        process.end().await?;
        drop(waiting);
        Ok(json!({}))
    }
}

/// A harvest that went wrong is no measurement. The bare program returns its event.
fn check(report: &Value) -> Result<(), Failure> {
    let refreshed = report["refreshed"] == 1 || report["outcome"] == "refreshed";
    let is_event = report.as_object().is_some_and(serde_json::Map::is_empty);
    if refreshed || is_event { Ok(()) } else { Err(format!("no source was refreshed: {report}").into()) }
}
