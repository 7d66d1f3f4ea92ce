//! A real gRPC service through a real stream of gRPC messages over TCP.

mod bytes_codec;
mod calls;
mod ends;
mod service;
mod support;
