//! Hosts of token endpoints: asked in turn, and left alone for the rest of a run once they fail.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};

use url::{Position, Url};

use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::oauth::{Answer, Rejection};
use crate::domain::retry::Repeat;

/// A host that failed so many requests in a row is not asked again in this run.
const MOST_FAILURES: u32 = 5;

/// How the hosts have answered in this run.
#[derive(Debug, Default)]
pub(super) struct Hosts(RefCell<HashMap<String, Failures>>);

/// Requests in a row that a host failed, and how the last one did.
#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: ErrorCode,
}

impl Hosts {
    /// Refuses a request to a host that has failed too often.
    pub(super) fn allow(&self, url: &Url) -> Result<(), Rejection> {
        let host = host(url);
        match self.0.borrow().get(host) {
            Some(failures) if failures.count >= MOST_FAILURES => {
                let message =
                    format!("{host} failed {MOST_FAILURES} requests in a row in this run, so it was not asked again");
                Err(Rejection::terminal(SourceError::new(failures.last, message)))
            }
            _ => Ok(()),
        }
    }

    /// Notes how a request ended.
    pub(super) fn note(&self, url: &Url, result: &Result<Answer, Rejection>) {
        let failure = match result {
            Ok(answer) if answer.status >= 500 => Some(ErrorCode::EndpointUnavailable),
            Err(rejection) if rejection.repeat != Repeat::Never => Some(rejection.error.code),
            _ => None,
        };
        let mut hosts = self.0.borrow_mut();
        match failure {
            None => drop(hosts.remove(host(url))),
            Some(last) => {
                let failures = hosts.entry(host(url).to_owned()).or_insert(Failures { count: 0, last });
                *failures = Failures { count: failures.count + 1, last };
            }
        }
    }
}

/// A host with its port: what is down together.
pub fn host(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

/// The items of all hosts by turns, so that no host's many keep another's few waiting. Those of one host keep their order.
pub fn in_turn<T>(items: impl IntoIterator<Item = (String, T)>) -> Vec<T> {
    let mut hosts: BTreeMap<String, VecDeque<T>> = BTreeMap::new();
    for (host, item) in items {
        hosts.entry(host).or_default().push_back(item);
    }
    let mut turns = Vec::new();
    while !hosts.is_empty() {
        turns.extend(hosts.values_mut().filter_map(VecDeque::pop_front));
        hosts.retain(|_, items| !items.is_empty());
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::oauth::AnswerBody;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn answered(status: u16) -> Answer {
        Answer::new(status, AnswerBody::Whole(Vec::new()))
    }

    #[test]
    fn hosts_take_turns() {
        let items = [("b", 1), ("a", 2), ("b", 3), ("b", 4), ("c", 5)];
        assert_eq!(in_turn(items.map(|(host, item)| (host.to_owned(), item))), [2, 1, 5, 3, 4]);
    }

    #[test]
    fn a_host_is_left_alone_after_five_failures_in_a_row() {
        let (hosts, down) = (Hosts::default(), url("https://down.example.com/token"));
        for _ in 0..4 {
            hosts.note(&down, &Ok(answered(503)));
        }
        assert!(hosts.allow(&down).is_ok());
        hosts.note(&down, &Err(Rejection::lost(SourceError::new(ErrorCode::EndpointTimeout, "no answer"))));
        let refused = hosts.allow(&url("https://down.example.com/other")).expect_err("refused");
        assert_eq!((refused.error.code, refused.repeat), (ErrorCode::EndpointTimeout, Repeat::Never));
        assert!(refused.error.message.starts_with("down.example.com failed 5 requests in a row"));
        assert!(hosts.allow(&url("https://down.example.com:8443/token")).is_ok(), "another port is another server");
    }

    #[test]
    fn an_answer_or_a_fault_of_our_own_is_no_failure_of_the_host() {
        let (hosts, url) = (Hosts::default(), url("https://up.example.com/token"));
        let untrusted = Err(Rejection::terminal(SourceError::new(ErrorCode::EndpointUnreachable, "no trust")));
        for fine in [Ok(answered(200)), Ok(answered(400)), Ok(answered(429)), untrusted] {
            for _ in 0..4 {
                hosts.note(&url, &Ok(answered(500)));
            }
            hosts.note(&url, &fine);
            hosts.note(&url, &Ok(answered(500)));
            assert!(hosts.allow(&url).is_ok());
            hosts.note(&url, &Ok(answered(200)));
        }
    }
}
