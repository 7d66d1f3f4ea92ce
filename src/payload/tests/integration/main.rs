//! The room from outside: hostile archives, servers that misbehave, crashes, full disks.

mod archives;
mod tree;
mod unpack_limits;
mod unpack_links;
mod unpack_tar;
mod unpack_zip;
