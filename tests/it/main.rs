//! The harvester against real servers: AWS from an emulator, authorization servers over real sockets, the binary
//! through Lambda's runtime API. Faults that no server has by itself are forced by scripted ones.

#![expect(clippy::expect_used, reason = "a test that can't be set up has failed")]

mod support;

mod authorization_server;
mod authorization_urls;
mod bad_answers;
mod calls;
mod conformance;
mod connect;
mod connections;
mod definitions;
mod faults;
mod field_docs;
mod grants;
mod incidents;
mod kills;
mod lambda;
mod messages;
mod provider_docs;
mod providers;
mod schemas;
mod secrecy;
mod snapshots;
mod state;
mod token_requests;
mod token_store;
