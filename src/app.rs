//! Use cases: what the programs do. They know the world only through [`ports`].
//!
//! Services that use cases share, each for one source at a time:
//! - [`requester`]: requests to authorization servers, with retries
//! - [`grants`]: a grant under its lease
//! - [`tokens`]: a token tried and stored
//!
//! Use cases:
//! - [`harvest`]: keep every source's token fresh
//! - [`connect`]: let a person give a grant in a browser

pub mod at_work;
pub mod connect;
pub mod grants;
pub mod harvest;
#[cfg(test)]
pub(crate) mod memory;
pub mod ports;
pub mod requester;
pub mod tokens;
