//! The store from the outside: what a batch writes is what is read, what is acknowledged is on disk.

mod commits;
mod conversations;
mod damage;
mod reads;
