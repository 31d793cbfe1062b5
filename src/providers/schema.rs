//! JSON schemas of tools and of answers as providers take them: each has its own part of the standard.

pub(crate) mod openapi;
mod strict;

pub(crate) use strict::strict;
