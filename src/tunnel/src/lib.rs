//! A connection inside a stream of messages.
//!
//! Who cannot be called opens a stream of messages to whoever wants to call, and both use it as
//! if it were a socket: the one that was called dials through it, the one that called serves.
//! [`Tunnel`] is that socket, made of a stream of chunks coming in and a bounded channel of
//! chunks going out ([`outgoing`]); [`serve()`] and [`dial()`] put gRPC on it.
//!
//! ```text
//! agent                                                        controller
//! gRPC server ─ Tunnel ─ chunks ─> request messages  ─> chunks ─ Tunnel ─ gRPC channel
//!                      <─ chunks ─ response messages <─ chunks ─
//! ```
//!
//! Nothing here buffers more than [`CHUNKS_IN_FLIGHT`] chunks of [`MAX_CHUNK_BYTES`] a direction:
//! whoever reads slowly slows the writer at the other end. This room knows no message of ours and
//! no other room; turning chunks to messages and back is the caller's.
#![forbid(unsafe_code)]

mod tunnel;

mod dial;

mod serve;

pub use dial::{dial, endpoint};
pub use serve::{Incoming, serve};
pub use tunnel::{CHUNKS_IN_FLIGHT, MAX_CHUNK_BYTES, Tunnel, TunnelHandle, outgoing};

/// Window for each call of the server that carries tunnels, for `initial_stream_window_size`, in
/// bytes: enough for one tunnel to run at full speed over a long line. The window of the whole
/// connection must not be less.
pub const CARRIER_WINDOW_BYTES: u32 = 4 << 20;

/// Largest frame of the inner HTTP/2 connection in bytes, for `max_frame_size`: with its header,
/// it is one chunk.
pub const FRAME_BYTES: u32 = 63 << 10;
