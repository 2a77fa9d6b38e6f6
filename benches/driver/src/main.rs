//! Plays Lambda, AWS and a token endpoint for one contestant after the other, and measures them.
//!
//! `driver <job as JSON>` prints what it measured as JSON; benches/bench.py gives the jobs and makes tables of the
//! figures. One process with one thread plays everything, so that a machine with two cores has one for the contestant.

mod aws;
mod contestant;
mod http;
mod jobs;
mod lambda;
mod token_endpoint;

use std::error::Error;

/// Anything that ends a measurement early.
type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let job = std::env::args().nth(1).ok_or("usage: driver <job as JSON>")?;
    let measured = jobs::run(serde_json::from_str(&job)?).await?;
    println!("{measured}");
    Ok(())
}
