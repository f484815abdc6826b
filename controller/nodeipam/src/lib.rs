//! Which Node gets which podCIDRs: plain values in, decisions and the next request out.
//!
//! `registrar` says what is to be asked of the API server next, `allocator` who holds what and who gets
//! what, of the `pools`, each a `pool` of `block_set`s; `ledger` keeps the `claim`s that were seen.
//! The model checker in the registrar's tests drives all of it as the controller does.

pub mod allocator;
pub mod block_set;
pub mod claim;
pub mod ledger;
pub mod node_cidr;
pub mod oddity;
pub mod pool;
pub mod pool_report;
pub mod pools;
pub mod range;
pub mod registrar;
pub mod selector;
pub mod tally;
