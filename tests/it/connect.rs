//! Connecting: what is kept of it in S3, and the gateway's program from a session to a token that a harvest keeps fresh.

mod flow;
mod program;
mod stores;
