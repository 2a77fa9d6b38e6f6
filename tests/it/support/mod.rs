//! What every test stands on: AWS from an emulator, authorization servers on loopback, a harvester of real parts.

pub(crate) mod deployment;
pub(crate) mod fixture;
pub(crate) mod function;
pub(crate) mod log;
pub(crate) mod outside;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod sockets;
pub(crate) mod token_endpoint;

use token_harvester::domain::error::ErrorCode;
use token_harvester::domain::report::{Outcome, Report, SourceReport};

/// One source's line of a report.
pub(crate) fn line<'a>(report: &'a Report, source: &str) -> &'a SourceReport {
    let found = report.sources.iter().find(|line| line.source == source);
    found.unwrap_or_else(|| panic!("no line for {source} in {report:#?}"))
}

/// Checks that a source has a new token of that generation.
#[track_caller]
pub(crate) fn assert_refreshed(report: &Report, source: &str, generation: u64) {
    let line = line(report, source);
    assert_eq!((line.outcome, line.generation), (Outcome::Refreshed, Some(generation)), "{line:#?}");
    assert!(line.version_id.is_some() && line.error.is_none(), "{line:#?}");
}

/// Checks a source's error code, and returns the error's message.
#[track_caller]
pub(crate) fn assert_failed<'a>(report: &'a Report, source: &str, code: ErrorCode) -> &'a str {
    let line = line(report, source);
    let error = line.error.as_ref().unwrap_or_else(|| panic!("no error in {line:#?}"));
    assert_eq!((line.outcome, error.code), (Outcome::Failed, code), "{line:#?}");
    &error.message
}
