//! The clients of one supervisor: told how far the console has grown, listened to for orders.
//!
//! Each has at most one notice on its way. While that does not fit into the socket, newer sizes
//! replace each other; so a client that does not read costs nothing and holds nobody up.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::poll::PollFlags;
use nix::unistd::geteuid;

use crate::control::{Notice, Order};
use crate::frame::{self, Decoder, MAX_CONTROL_FRAME};
use crate::sys;

/// Clients beyond these are turned away.
const MAX_CLIENTS: usize = 64;

/// How close upon each other notices follow.
const NOTICE_INTERVAL: Duration = Duration::from_millis(10);

/// Orders that one client may give before the others get their turn.
const READ_BYTES: usize = 4 << 10;

/// The control socket and who is connected to it.
#[derive(Debug)]
pub(super) struct Clients {
    listener: UnixListener,
    client_uid: u32,
    clients: Vec<Client>,
    last_notice: Duration,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    decoder: Decoder,
    /// The rest of a notice that the socket did not take whole.
    outgoing: Vec<u8>,
    hearing: Hearing,
}

/// What a client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hearing {
    /// It was let in and waits for its first notice.
    New,
    /// It was told this size.
    Told(u64),
    /// It does not listen any more, but may have left an order.
    Gone,
}

impl Clients {
    /// Serves a socket that listens and does not block.
    pub(super) fn new(listener: UnixListener, client_uid: u32) -> Self {
        Self {
            listener,
            client_uid,
            clients: Vec::new(),
            last_notice: Duration::ZERO,
        }
    }

    /// What to poll, and for what.
    pub(super) fn polled(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listener = (self.listener.as_fd(), PollFlags::POLLIN);
        let clients = self.clients.iter().map(|client| {
            let writing = if client.outgoing.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::POLLOUT
            };
            (client.stream.as_fd(), PollFlags::POLLIN | writing)
        });
        std::iter::once(listener).chain(clients)
    }

    /// Lets new clients in and reads the orders that have come.
    pub(super) fn serve(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        self.clients.retain_mut(|client| {
            client.flush();
            client.read(&mut orders).is_ok()
        });
        self.accept();
        orders
    }

    /// Tells those who do not know how far the console has grown, not too often. Gives the time
    /// at which to be called again.
    pub(super) fn tell(&mut self, console_bytes: u64, now: Duration) -> Option<Duration> {
        let is_due = now >= self.last_notice + NOTICE_INTERVAL;
        let mut waits = false;
        for client in self
            .clients
            .iter_mut()
            .filter(|client| client.outgoing.is_empty())
        {
            match client.hearing {
                Hearing::Gone => continue,
                Hearing::Told(size) if size == console_bytes => continue,
                Hearing::Told(_) if !is_due => {
                    waits = true;
                    continue;
                }
                Hearing::New | Hearing::Told(_) => {}
            }
            client.hearing = Hearing::Told(console_bytes);
            client.send(Notice::Progress { console_bytes });
            self.last_notice = now;
        }
        waits.then_some(self.last_notice + NOTICE_INTERVAL)
    }

    /// Tells everybody that it is over, those who are just knocking too.
    pub(super) fn tell_ended(&mut self) {
        self.accept();
        for client in &mut self.clients {
            client.send(Notice::Ended);
        }
    }

    /// After [`Clients::tell_ended`]: what to poll for those who have not taken all of it.
    pub(super) fn polled_last(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.clients
            .iter()
            .map(|client| (client.stream.as_fd(), PollFlags::POLLOUT))
    }

    /// After [`Clients::tell_ended`]: hands on what did not fit before; whether that is all.
    pub(super) fn flush_last(&mut self) -> bool {
        self.clients.retain_mut(|client| {
            client.flush();
            !client.outgoing.is_empty()
        });
        self.clients.is_empty()
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let known = sys::peer_uid(&stream)
                .is_ok_and(|uid| uid == self.client_uid || uid == geteuid().as_raw());
            let has_room = self.clients.len() < MAX_CLIENTS;
            if known && has_room && stream.set_nonblocking(true).is_ok() {
                self.clients.push(Client {
                    stream,
                    decoder: Decoder::new(MAX_CONTROL_FRAME),
                    outgoing: Vec::new(),
                    hearing: Hearing::New,
                });
            }
        }
    }
}

impl Client {
    /// Reads what has come; an error when the client is gone or makes no sense.
    fn read(&mut self, orders: &mut Vec<Order>) -> io::Result<()> {
        let mut buffer = [0; READ_BYTES];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.decoder.feed(&buffer[..count]),
            Err(error) if is_later(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        while let Some(order) = self.decoder.next_message().map_err(io::Error::other)? {
            orders.push(order);
        }
        Ok(())
    }

    fn send(&mut self, notice: Notice) {
        // A notice is far smaller than a frame may be.
        self.outgoing
            .extend(frame::encode(&notice, MAX_CONTROL_FRAME).unwrap_or_default());
        self.flush();
    }

    fn flush(&mut self) {
        if self.hearing == Hearing::Gone {
            self.outgoing.clear();
        }
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => {
                    self.outgoing.drain(..count);
                }
                Err(error) if is_later(&error) => return,
                Err(_) => {
                    self.hearing = Hearing::Gone;
                    self.outgoing.clear();
                }
            }
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
