//! Connecting in a world in memory, with tokio's time paused. The numbers in names are those of the checks that every
//! gateway of this kind should pass; `docs/connect.md` says what they are.

mod bench;
mod confirming;
mod flows;
mod kills;
mod sessions;

use std::rc::Rc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::bench::{Bench, Browser, answer, crm, role, token, user};
use super::*;
use crate::app::memory::{Half, Memory, Outbox, PausedClock, Secrets, Server, State, Tokens};
use crate::domain::connect::Status;
use crate::domain::oauth::{Answer, AnswerBody, Request};
use crate::domain::principal::Principal;
