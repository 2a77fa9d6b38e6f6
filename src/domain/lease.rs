//! The lease on a source's grant: which run may use a credential that its use may replace.
//!
//! A refresh token that rotates is good for one request. A server that sees it twice may take that for theft and revoke
//! the grant, so of all runs only the one that holds the source's lease sends it.
//!
//! # Sequence
//!
//! 1. The run **takes** the lease: it writes one, on the condition that there is none. The lease ends a few seconds after
//!    the run's deadline, so it outlasts all that the run can do.
//! 2. Where there is one, the run reads it:
//!    - It is the run's own, `nonce` included: the write had succeeded, and its reply was lost. The run holds it.
//!    - Its end is still to come: another run is at work, and the source is left to it (`deferred`).
//!    - Its end has passed, or it can't be understood: the run **takes it over**. It overwrites it on the condition that
//!      it is still the one that was read, so that of several runs only one succeeds; the others read again.
//!    - It is gone by now: the run begins again at 1.
//!
//!    A run that loses several of these races in a row leaves the source to the winners.
//! 3. The run **looks again**: it reads token document and incident once more, since the former holder may have changed
//!    both, and stops if there is nothing left to do.
//! 4. The run reads grant state, sends the request, saves the new credential on the condition that grant state is still
//!    the one that was read, and puts the token document.
//! 5. The run keeps the source's incident, and then **gives back** the lease: it deletes it on the condition that it is
//!    still its own.
//!
//! # What the lease proves
//!
//! It is put into the bucket of grant state and encrypted with the same key. A run that lacks a right to either learns
//! so from the lease, before it has used up a credential whose successor it could not save.
//!
//! # After a crash
//!
//! | the run ended | then |
//! |---|---|
//! | before the request was sent | the source waits for the end of the lease; the next holder uses the same credential |
//! | after that, before grant state was saved | the next holder sends the old credential. Where the server takes it once more, nothing is lost. Where it refuses, the incident says with which run the new one was lost |
//! | after grant state was saved, before the token document was put | the next holder uses the new credential |
//! | after the token document was put | the next runs find the token fresh and need no lease; this one ends by itself |
//!
//! Whoever takes a lease over can't tell these apart at once, and supposes the second. `taken_at` corrects that: if the
//! credential in grant state came at that time or later, the former holder did save its answer.
//!
//! The lease is no proof against clocks that are apart by more than its few seconds. Two runs may then send the same
//! credential. Neither overwrites what the other has saved, since every write has its condition; and the one that is
//! refused reads grant state again and goes on with the newer credential.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::document;
use crate::domain::time::{rfc3339_seconds, rfc3339_seconds_option};

/// Which run works on a source, and until when no other may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The run that holds it: the request id of its invocation.
    pub run_id: String,
    /// Tells apart two runs of one id: Lambda may deliver an event twice, with the same request id, and each run would
    /// take the other's lease for its own. Empty in a lease of an older version.
    #[serde(default)]
    pub nonce: String,
    /// When it was taken, in whole seconds; `None` in a lease of an older version.
    #[serde(default, serialize_with = "rfc3339_seconds_option")]
    pub taken_at: Option<DateTime<Utc>>,
    /// From then on it may be taken over.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub expires_at: DateTime<Utc>,
}

impl Lease {
    /// What is put into the state bucket.
    pub fn to_json(&self) -> String {
        document::to_json(self)
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// What a lease counts as that can't be understood: one that anybody may take over.
    pub fn ended() -> Self {
        Self { run_id: String::new(), nonce: String::new(), taken_at: None, expires_at: DateTime::UNIX_EPOCH }
    }
}
