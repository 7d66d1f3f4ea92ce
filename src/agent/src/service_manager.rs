//! What the service manager is told: that the agent is ready, a line on how it is, and signs of
//! life for as long as it is well.
//!
//! A watchdog that is fed by a mere timer shows that the timer works. Here a sign of life follows
//! only on an answer to a client: a connection to the agent's own address that was accepted, read
//! and written to. Before it the agent's state is looked at, which waits for its lock. So whatever
//! hangs (the process, the runtime, the server, a thread that holds the lock), the agent falls
//! silent, and is restarted. What a restart would not cure, such as a full disk or a launcher that
//! is away, is no reason to fall silent; the status says it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::core::Core;

/// What an HTTP/2 client says first: its preface, and settings that change nothing. Where TLS is
/// wanted it is refused, which is an answer too.
const FIRST_WORDS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Signs of life in the time that the service manager waits for one.
const SIGNS_OF_LIFE: u32 = 3;

/// Between two looks where nobody waits for signs of life.
const UNWATCHED_PERIOD: Duration = Duration::from_secs(60);

/// Tells the service manager. Without one there is nobody to tell.
pub(crate) fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(error = %error, "service manager could not be told");
    }
}

/// Tells it that the configuration is being read again; [`NotifyState::Ready`] ends that.
pub(crate) fn tell_of_reload() {
    match NotifyState::monotonic_usec_now() {
        // In one message: the time says which reload it is that has begun.
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => {
            tracing::debug!(error = %error, "service manager could not be told of a reload");
        }
    }
}

/// Begins to tell it how the agent is, with signs of life if it waits for them, until `stop`.
/// `address` is where clients are answered.
pub(crate) fn start(core: &Arc<Core>, address: SocketAddr, stop: &CancellationToken) {
    let (core, stop) = (Arc::clone(core), stop.clone());
    let watchdog = sd_notify::watchdog_enabled();
    tokio::spawn(async move {
        tokio::select! {
            () = report(&core, address, watchdog) => {}
            () = stop.cancelled() => {}
        }
    });
}

async fn report(core: &Core, address: SocketAddr, watchdog: Option<Duration>) {
    let address = reachable(address);
    let period = watchdog.map_or(UNWATCHED_PERIOD, |wait| {
        (wait / SIGNS_OF_LIFE).max(Duration::from_millis(1))
    });
    let mut looks = interval(period);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = core.changes();
    let mut told = String::new();
    loop {
        let is_look = tokio::select! {
            _ = looks.tick() => true,
            Ok(()) = changes.changed() => false,
        };
        let status = status(core);
        if status != told {
            tell(&[NotifyState::Status(&status)]);
            told = status;
        }
        if is_look && watchdog.is_some() {
            match answers(address, period).await {
                Ok(()) => tell(&[NotifyState::Watchdog]),
                Err(error) => tracing::warn!(
                    address = %address,
                    error = %error,
                    "agent does not answer its own call; the service manager is not told that it is well"
                ),
            }
        }
    }
}

/// How the agent is, on one line.
fn status(core: &Core) -> String {
    let running = core.running();
    let reasons = core.reasons_not_ready();
    let status = if reasons.is_empty() {
        format!("takes work; {running} running")
    } else {
        format!("takes no work: {}; {running} running", reasons.join(", "))
    };
    // A line break would begin another message.
    status.replace(char::is_control, " ")
}

/// Calls the agent as a client does. An error when it is silent for the length of `limit`.
async fn answers(address: SocketAddr, limit: Duration) -> io::Result<()> {
    let call = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(FIRST_WORDS).await?;
        match stream.read(&mut [0]).await {
            // Somebody was there to hang up.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            read => read.map(drop),
        }
    };
    timeout(limit, call).await.map_err(io::Error::from)?
}

/// Where an address that stands for all of the machine's own can be called.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn listener_that_nobody_serves_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // The kernel accepts for it.
        let silence = answers(address, SHORT).await.unwrap_err();
        assert_eq!(silence.kind(), io::ErrorKind::TimedOut);
        drop(listener);
        let refusal = answers(address, LONG).await.unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn whoever_hangs_up_has_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async { drop(listener.accept().await.unwrap()) };
        let (answer, ()) = tokio::join!(answers(address, LONG), server);
        answer.unwrap();
    }

    #[test]
    fn address_of_all_interfaces_is_called_on_loopback() {
        let check = |address: &str, expected: &str| {
            assert_eq!(reachable(address.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:7420", "127.0.0.1:7420");
        check("[::]:7420", "[::1]:7420");
        check("10.1.2.3:7420", "10.1.2.3:7420");
    }
}
