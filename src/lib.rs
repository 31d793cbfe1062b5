//! Greenroom: an actor-based runtime for long-lived AI agents.

pub mod domain;
