//! The commands, one file each.

pub(crate) mod attach;
pub(crate) mod cancel;
pub(crate) mod capacity;
pub(crate) mod drain;
pub(crate) mod logs;
pub(crate) mod ps;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod up;
mod view;
