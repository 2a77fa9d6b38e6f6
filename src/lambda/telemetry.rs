//! What CloudWatch gets: JSON log lines, and one metrics record per run.

use std::io::Write;
use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Utc};
use metrique::emf::Emf;
use metrique::unit::{Count, Millisecond, Second};
use metrique::unit_of_work::metrics;
use metrique::writer::format::Format as _;
use metrique::{CloseValue as _, RootEntry};
use tracing::{Level, Subscriber, error};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::app::at_work::AtWork;
use crate::domain::report::Report;

/// CloudWatch namespace of the metrics.
const NAMESPACE: &str = "TokenHarvester";

/// One JSON object a line: `timestamp`, `level`, `message`, and the event's fields beside them.
///
/// `level` is for this program's own events. Libraries are heard from warnings on, whatever the level: their
/// details may hold headers and bodies.
pub fn subscriber<W>(level: Level, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let own = Targets::new()
        .with_target("token_harvester", level)
        .with_target("bootstrap", level)
        .with_target("connect", level)
        .with_default(LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_writer(writer);
    tracing_subscriber::registry().with(own).with(lines)
}

/// Makes a panic one log line with its place, and what was worked on. Not with its words, which may quote a value.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at_work = AtWork::now();
        error!(
            run.id = at_work.as_ref().map(|at_work| &at_work.run_id),
            source.name = at_work.as_ref().map(|at_work| &at_work.source),
            panic.location = panic.location().map(ToString::to_string),
            "panicked"
        );
    }));
}

/// One run in numbers. Of the members only `environment` is a dimension: each value of one is billed.
#[metrics(emf::dimension_sets = [["environment"]])]
struct RunMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    environment: String,
    run_id: String,
    #[metrics(unit = Count)]
    refreshed: usize,
    #[metrics(unit = Count)]
    failed: usize,
    #[metrics(unit = Count)]
    deferred: usize,
    #[metrics(unit = Count)]
    attempts: u64,
    #[metrics(unit = Millisecond)]
    duration_ms: u64,
    /// Until the token that expires first does; below zero once it has. Left out where no expiry is known.
    #[metrics(unit = Second)]
    seconds_until_expiry: Option<f64>,
    expires_first: Option<String>,
    /// How much longer the tokens work than jobs were promised, of the source with the least; below zero where a job may
    /// find less. Left out where no expiry is known.
    #[metrics(unit = Second)]
    seconds_above_min_ttl: Option<f64>,
    lowest_source: Option<String>,
    /// 1 for a run over all sources that had one to work on.
    #[metrics(unit = Count)]
    complete_runs: usize,
}

/// Writes a run's metrics in CloudWatch's Embedded Metric Format, one line.
///
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
pub fn write_metrics(report: &Report, now: DateTime<Utc>, output: &mut impl Write) -> Result<(), String> {
    let first = report.sources.iter().filter_map(|source| Some((source.expires_at?, &source.source))).min();
    let lowest = report.sources.iter().filter_map(|source| Some((source.spare?, &source.source))).min();
    #[expect(clippy::cast_precision_loss, reason = "seconds of a century are exact in a double")]
    let seconds = |duration: TimeDelta| duration.num_seconds() as f64;
    let metrics = RunMetrics {
        timestamp: now.into(),
        environment: report.environment.clone(),
        run_id: report.run_id.clone(),
        refreshed: report.refreshed,
        failed: report.failed,
        deferred: report.deferred,
        attempts: report.sources.iter().map(|source| u64::from(source.attempts)).sum(),
        duration_ms: u64::try_from((report.finished_at - report.started_at).num_milliseconds()).unwrap_or_default(),
        seconds_until_expiry: first.map(|(expires_at, _)| seconds(expires_at - now)),
        expires_first: first.map(|(_, source)| source.clone()),
        seconds_above_min_ttl: lowest.map(|(spare, _)| seconds(spare)),
        lowest_source: lowest.map(|(_, source)| source.clone()),
        complete_runs: usize::from(report.complete),
    };
    Emf::all_validations(NAMESPACE.to_owned(), vec![vec![]])
        .format(&RootEntry::new(metrics.close()), output)
        .map_err(|error| format!("metrics could not be written: {error}"))
}
