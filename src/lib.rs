//! Keeps the OAuth tokens of a company's data jobs fresh in encrypted S3, and says when it can't.
//!
//! # Layout
//!
//! A reader meets the use case first: [`harvest`] reads top to bottom. It knows the world only through [`ports`].
//!
//! Pure, without clock, randomness, environment or any type of AWS:
//! - [`source`]: what the secrets define, parsed and validated
//! - [`provider`]: known providers, declared in `src/providers`; [`dialect`]: how they depart from RFC 6749
//! - [`event`]: what a harvest is asked to do
//! - [`oauth`]: token requests, answers and errors; [`assertion`]: signed JWTs
//! - [`credential`]: what tokens are requested with, in kinds and words
//! - [`grant`]: the refresh token that is due next, and the lease on it
//! - [`token`]: the token document, its expiry, and whether it is due
//! - [`retry`]: waits, `Retry-After`, deadlines
//! - [`report`]: outcomes and warnings; [`message`]: what subscribers are told
//! - [`error`]: why a source has no new token
//! - [`incident`]: open failures, when to try again, and when a person hears; [`alert`]: the words for it
//! - [`duration`], [`time`] and [`text`]: small words of the trade
//!
//! The world:
//! - [`config`]: the environment
//! - [`connection`]: HTTP over TLS, for all that is outside; [`tls`]: whom to trust
//! - [`http`]: authorization servers
//! - [`aws`]: Secrets Manager, S3, SNS
//! - [`system`]: clock and randomness
//! - [`telemetry`]: logs and metrics
//!
//! `src/bin/bootstrap.rs` wires it all into a Lambda function.

pub mod alert;
pub mod assertion;
pub mod aws;
pub mod config;
pub mod connection;
pub mod credential;
pub mod dialect;
pub mod duration;
pub mod error;
pub mod event;
pub mod grant;
pub mod harvest;
pub mod http;
pub mod incident;
pub mod message;
pub mod oauth;
pub mod ports;
pub mod provider;
pub mod report;
pub mod retry;
pub mod source;
pub mod system;
pub mod telemetry;
pub mod text;
pub mod time;
pub mod tls;
pub mod token;
