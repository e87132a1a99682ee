//! `plaintap run` in network namespaces that the tests make and remove: what it says of a mirror is what `plaintap read` says of the
//! capture. Needs root, iproute2 and python3.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod clients;
mod corpus;
mod doctor;
mod filters;
mod interface;
mod lab;
mod links;
mod load;
mod metrics;
mod process;
mod replay;
mod rings;
mod site;
