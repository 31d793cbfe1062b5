//! JSON schemas of tools and of answers as providers take them: each has its own part of the standard.

mod closed;
mod non_null;
pub(crate) mod openapi;
mod strict;

pub(crate) use closed::closed;
pub(crate) use non_null::non_null;
pub(crate) use strict::strict;
