//! Keeps the OAuth tokens of a company's data jobs fresh in encrypted S3, and says when it can't.
//!
//! # Layout
//!
//! Each room is a folder, named by what it may know:
//! - [`domain`]: the rules, without clock, randomness, network or any type of AWS. Start here for what a thing *is*.
//! - [`app`]: the use cases, and the ports through which they reach the world. Start here for what *happens*:
//!   [`app::harvest`] reads top to bottom.
//! - [`net`]: HTTP over TLS, and the authorization servers behind it
//! - [`aws`]: Secrets Manager, S3, SNS; the layout of the buckets, and the limits of the services
//! - [`lambda`]: what Lambda gives a program: its start, its environment and events, and where logs and metrics go
//! - `gateway`: what a person sees who connects an account in a browser, and what an application asks for
//! - [`system`]: clock and randomness
//!
//! Programs are thin: each file of `src/bin` wires rooms together. Providers are data, in `src/providers`.
//!
//! Who may know whom: `bin` -> `gateway` -> `lambda` -> `net`, `aws`, `system` -> `app` -> `domain`, never back and
//! never in a circle; `tests/architecture.rs` holds that.

pub mod app;
pub mod aws;
pub mod domain;
#[cfg(feature = "connect")]
pub mod gateway;
pub mod lambda;
pub mod net;
pub mod system;
