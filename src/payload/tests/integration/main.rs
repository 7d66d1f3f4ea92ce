//! The room from outside: hostile archives, servers that misbehave, crashes, full disks.

mod archives;
mod cache_download;
mod cache_keeping;
mod caching;
mod disk_full;
mod server;
mod tree;
mod unpack_limits;
mod unpack_links;
mod unpack_tar;
mod unpack_zip;
