//! The program `helix` as a process, against an agent whose part is written down.

mod agent;
mod connection;
mod events;
mod interrupts;
mod jobs;
mod operating;
mod program;
mod running;
mod terminal;
mod tls;
mod up;
