//! Every dialect in its vendor's own protocol: each scene is played with every model, once with whole answers and once
//! token by token, by a server that takes no request that breaks the vendor's rules. What is stored must be the same.

mod official;
mod script;
mod stage;

mod compaction;
mod scenes;
mod thinking;
mod tools;
mod troubles;
