//! What Lambda gives a program: its environment, and where logs and metrics go.

pub mod config;
pub mod payload;
#[cfg(feature = "lambda")]
pub mod program;
pub mod telemetry;
