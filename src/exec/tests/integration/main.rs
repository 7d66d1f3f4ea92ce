//! Launcher, supervisor and spool together: real processes, real signals, real files.

mod ending;
mod faulty_kernel;
mod hand_over;
mod isolated;
mod isolation;
mod launching;
mod limits;
mod output;
mod privileges;
mod support;
mod surroundings;
mod survival;
mod tree;
