//! Launcher, supervisor and spool together: real processes, real signals, real files.

mod ending;
mod launching;
mod output;
mod support;
mod surroundings;
mod survival;
mod tree;
