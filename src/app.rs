//! Use cases: what the programs do. They know the world only through [`ports`].

pub mod harvest;
pub mod ports;
