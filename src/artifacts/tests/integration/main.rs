//! Selection and storage for real: directories, a local folder, failing servers, and, where they
//! can be had, an Azure and an S3 emulator.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

mod azure;
mod fake_s3;
mod faults;
mod local;
mod s3;
mod secrets;
mod select;
mod support;
