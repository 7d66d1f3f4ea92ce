//! Launcher, supervisor and spool together: real processes, real signals, real files.

mod ending;
mod support;
