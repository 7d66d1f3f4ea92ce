//! The connection to an agent: where it is, who it is, and what it answers.
//!
//! [`Connection`] carries one HTTP/2 channel, which reconnects by itself for the
//! next call. What must be said again after a break, only [`follow`] knows.

mod address;
pub(crate) mod answer;
mod backoff;

pub(crate) mod cursor;
pub(crate) mod follow;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use helix_proto::agent::v1::agent_service_client::AgentServiceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

pub(crate) use self::address::{Address, AddressError};
use self::answer::Answer;
pub(crate) use self::backoff::Backoff;
use crate::arguments::Common;
use crate::error::Error;

/// A typed client of the agent.
pub(crate) type Client = AgentServiceClient<Channel>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that does not answer a ping within twice this is gone: only so does a
/// silent stream notice that a machine lost its power.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Enough for full throughput over a long line, small enough to stay flat.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// A channel to an agent.
#[derive(Clone)]
pub(crate) struct Connection {
    client: Client,
    address: Address,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects at once, so that a wrong address is told before anything else.
    pub(crate) async fn open(common: &Common) -> Result<Self, Error> {
        let address = Address::parse(&common.agent).map_err(|source| Error::Address {
            address: common.agent.clone(),
            source,
        })?;
        let mut endpoint = endpoint(&address)?;
        if address.uses_tls() {
            let tls = tls(common, &address)?;
            endpoint = endpoint.tls_config(tls).map_err(|source| Error::Tls {
                address: address.to_string(),
                source,
            })?;
        } else if let Some(option) = tls_option(common) {
            return Err(Error::TlsOptionWithoutTls {
                option,
                address: address.to_string(),
            });
        }
        let channel = endpoint
            .connect()
            .await
            .map_err(|source| Error::Unreachable {
                address: address.to_string(),
                source,
            })?;
        Ok(Self {
            client: client(channel),
            address,
        })
    }

    /// A client for one more call.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where the agent is.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

/// A duration for the contract. What is beyond its range stays beyond it, so that
/// the agent refuses it by name.
pub(crate) fn to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        // Below a thousand million, which fits.
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// Turns the answer of a call into an error that says what was wanted.
pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(tonic::Status) -> Error {
    let what = what.into();
    |status| Error::Call {
        what,
        answer: Answer::from(status),
    }
}

fn client(channel: Channel) -> Client {
    AgentServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

fn endpoint(address: &Address) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(address.to_string()).map_err(|source| Error::Tls {
        address: address.to_string(),
        source,
    })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(STREAM_WINDOW_BYTES * 2))
}

fn tls(common: &Common, address: &Address) -> Result<ClientTlsConfig, Error> {
    let Some(ca) = &common.ca else {
        return Err(Error::NoAuthority {
            address: address.to_string(),
        });
    };
    let name = common.server_name.as_deref().unwrap_or(address.host());
    let mut tls = ClientTlsConfig::new()
        .domain_name(name)
        .ca_certificate(Certificate::from_pem(read(ca)?));
    if let (Some(certificate), Some(key)) = (&common.cert, &common.key) {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

/// An option that would be silently without effect on a plain connection.
fn tls_option(common: &Common) -> Option<&'static str> {
    if common.ca.is_some() {
        Some("--ca")
    } else if common.cert.is_some() {
        Some("--cert")
    } else if common.server_name.is_some() {
        Some("--server-name")
    } else {
        None
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}
