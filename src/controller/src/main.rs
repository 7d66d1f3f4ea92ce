//! The program `helix-controller`; see [`helix_controller`].

use std::process::ExitCode;

fn main() -> ExitCode {
    helix_controller::main()
}
