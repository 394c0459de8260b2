//! The client against a peer that speaks the codec and does what each test tells it.

mod admin;
mod compressed;
mod groups;
mod idempotent;
mod lost_connection;
mod many_in_flight;
mod peer;
mod produce_and_consume;
mod reconnect;
mod retries;
mod shards;
mod small_node;
