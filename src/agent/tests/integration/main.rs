//! The program `helix-agent` as its surroundings meet it: controllers, signals, the command line.

mod agent;
mod certificates;
mod controller;
mod doctor;
mod reload;
mod reporting;
mod trust;
