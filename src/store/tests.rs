//! The store from the outside: what a batch writes is what is read, what is acknowledged is on disk.

mod commits;
mod damage;
mod reads;
