//! Frames on the sockets of this room: a length, then that many bytes of JSON.
//!
//! The length is four bytes, most significant first, and counts the JSON alone. There is no
//! version in a frame: a message that a peer does not know is an error of that peer.
//!
//! [`encode`] and [`Decoder`] do no I/O, so that any event loop can drive them; [`read()`] and
//! [`write()`] are for blocking sockets.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest frame to and from the launcher in bytes: room for the kernel's 2 MiB of arguments and
/// environment even when every byte has to be escaped.
pub const MAX_LAUNCHER_FRAME: usize = 16 << 20;

/// Largest frame to and from a supervisor in bytes.
pub const MAX_CONTROL_FRAME: usize = 64 << 10;

const PREFIX: usize = 4;

/// What a decoder keeps allocated between frames; one large frame is no reason to stay large.
const KEPT_CAPACITY: usize = 64 << 10;

/// Why a frame could not be written or read. Past any of these the connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer announced, or the caller handed in, more than the socket's limit.
    #[error("frame of {length} bytes exceeds the limit of {limit}")]
    TooLong {
        /// Bytes of JSON announced.
        length: usize,
        /// Bytes of JSON allowed.
        limit: usize,
    },
    /// The bytes are not the message expected here.
    #[error("frame is not a message that is understood here")]
    Malformed(#[source] serde_json::Error),
    /// The socket failed; `UnexpectedEof` when the peer left in the middle of a frame.
    #[error("socket failed in a frame")]
    Socket(#[source] io::Error),
}

/// The message as one frame, or an error when its JSON is longer than `limit` bytes.
pub fn encode(message: &impl Serialize, limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; PREFIX];
    serde_json::to_writer(&mut frame, message).map_err(FrameError::Malformed)?;
    let length = frame.len() - PREFIX;
    match u32::try_from(length) {
        Ok(prefix) if length <= limit => {
            frame[..PREFIX].copy_from_slice(&prefix.to_be_bytes());
            Ok(frame)
        }
        _ => Err(FrameError::TooLong { length, limit }),
    }
}

/// Cuts a byte stream into messages. Never holds more than one frame's limit plus what was fed in
/// with one call.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    limit: usize,
}

impl Decoder {
    /// A decoder that refuses frames with more than `limit` bytes of JSON.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            limit,
        }
    }

    /// Adds bytes as they came from the socket.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` when more bytes are needed.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = frame_length(*prefix, self.limit)?;
        let Some(json) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(json).map_err(FrameError::Malformed)?;
        self.buffer.drain(..PREFIX + length);
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_CAPACITY {
            self.buffer = Vec::new();
        }
        Ok(Some(message))
    }

    /// Whether the stream may end here without cutting a frame in two.
    pub fn is_between_frames(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// Reads one message from a blocking stream; `None` when the peer has left between two frames.
pub fn read<T: DeserializeOwned>(
    from: &mut impl Read,
    limit: usize,
) -> Result<Option<T>, FrameError> {
    let mut prefix = [0; PREFIX];
    let mut filled = 0;
    while filled < PREFIX {
        match from.read(&mut prefix[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(FrameError::Socket(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FrameError::Socket(error)),
        }
    }
    let mut json = vec![0; frame_length(prefix, limit)?];
    from.read_exact(&mut json).map_err(FrameError::Socket)?;
    serde_json::from_slice(&json)
        .map(Some)
        .map_err(FrameError::Malformed)
}

/// Writes one message to a blocking stream.
pub fn write(
    to: &mut impl Write,
    message: &impl Serialize,
    limit: usize,
) -> Result<(), FrameError> {
    to.write_all(&encode(message, limit)?)
        .map_err(FrameError::Socket)
}

fn frame_length(prefix: [u8; PREFIX], limit: usize) -> Result<usize, FrameError> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(FrameError::TooLong { length, limit });
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut_of_the_stream() {
        let messages = ["", "a", "\u{1F600} and more"];
        let stream: Vec<u8> = messages
            .iter()
            .flat_map(|message| encode(message, 100).unwrap())
            .collect();
        for step in 1..=stream.len() {
            let mut decoder = Decoder::new(100);
            let mut decoded = Vec::new();
            for piece in stream.chunks(step) {
                decoder.feed(piece);
                while let Some(message) = decoder.next_message::<String>().unwrap() {
                    decoded.push(message);
                }
            }
            assert_eq!(decoded, messages, "in pieces of {step}");
            assert!(decoder.is_between_frames());
        }
    }

    #[test]
    fn blocking_reader_tells_an_end_between_frames_from_one_within() {
        let stream = encode(&"abc", 100).unwrap();
        let mut whole = stream.as_slice();
        assert_eq!(
            read::<String>(&mut whole, 100).unwrap().as_deref(),
            Some("abc")
        );
        assert!(read::<String>(&mut whole, 100).unwrap().is_none());
        for cut in 1..stream.len() {
            let error = read::<String>(&mut &stream[..cut], 100).unwrap_err();
            assert!(
                matches!(error, FrameError::Socket(_)),
                "cut at {cut}: {error:?}"
            );
        }
    }

    #[test]
    fn oversized_and_malformed_frames_are_refused() {
        assert!(matches!(
            encode(&"abcdef", 5),
            Err(FrameError::TooLong {
                length: 8,
                limit: 5
            })
        ));
        let mut decoder = Decoder::new(5);
        decoder.feed(&[255; 4]);
        assert!(matches!(
            decoder.next_message::<String>(),
            Err(FrameError::TooLong { .. })
        ));
        let mut decoder = Decoder::new(5);
        decoder.feed(&[0, 0, 0, 1, b'{']);
        assert!(matches!(
            decoder.next_message::<String>(),
            Err(FrameError::Malformed(_))
        ));
    }
}
