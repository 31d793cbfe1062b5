//! Greenroom: an actor-based runtime for long-lived AI agents.

#![recursion_limit = "256"]

pub mod actors;
pub mod boot;
pub mod cli;
pub mod config;
pub mod domain;
pub mod egress;
pub mod facade;
pub mod providers;
pub mod store;
pub mod tools;
pub mod wire;
