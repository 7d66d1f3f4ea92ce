//! The room from outside: hostile archives, servers that misbehave, crashes, full disks.
#![expect(
    unreachable_pub,
    reason = "helpers of one program, shared between its modules"
)]
#![expect(clippy::print_stderr, reason = "a test that cannot run here says why")]

mod archives;
mod cache_confirming;
mod cache_download;
mod cache_keeping;
mod cache_servers;
mod caching;
mod disk_full;
mod git;
mod server;
mod tree;
mod unpack_limits;
mod unpack_links;
mod unpack_tar;
mod unpack_zip;
