//! What a person sees who connects an account in a browser, and what an application asks for.
//!
//! [`routes`] leads each request to what answers it: [`browser`] to people, [`api`] to applications. What they decide is
//! the use case's, [`crate::app::connect`]; how it looks is [`pages`]'.

mod api;
mod browser;
mod cookies;
pub mod pages;
pub mod routes;
