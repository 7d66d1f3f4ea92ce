//! What all handlers share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::caller::Tokens;
use super::rate::{Buckets, Rate};
use super::sign::Signer;
use crate::core::Core;

/// What one caller may ask for.
const CALLS: Rate = Rate {
    per_second: 200.0,
    burst: 1000.0,
};
/// How often one address may come with a wrong token, or none.
const FAILURES: Rate = Rate {
    per_second: 1.0,
    burst: 30.0,
};
/// Uploads at one time: each holds some pieces in memory.
const UPLOADS: usize = 16;
/// Logs and events that are followed at one time.
const FOLLOWERS: usize = 10_000;

/// What all handlers share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Arc<Core>,
    pub(super) tokens: Tokens,
    pub(super) signer: Signer,
    /// By the caller's name, or the address of who has none.
    pub(super) calls: Buckets<String>,
    pub(super) failures: Buckets<IpAddr>,
    pub(super) uploads: Semaphore,
    pub(super) followers: Arc<Semaphore>,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

impl State {
    pub(super) fn new(core: Arc<Core>, signer: Signer) -> Self {
        Self::with_rates(core, signer, CALLS, FAILURES)
    }

    pub(super) fn with_rates(core: Arc<Core>, signer: Signer, calls: Rate, failures: Rate) -> Self {
        let tokens = Tokens::new(core.config().tokens.clone());
        Self {
            core,
            tokens,
            signer,
            calls: Buckets::new(calls),
            failures: Buckets::new(failures),
            uploads: Semaphore::new(UPLOADS),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
        }
    }
}

impl Default for Peer {
    fn default() -> Self {
        Self(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
    }
}
