//! The program `helix-agent`; see [`helix_agent`].

use std::process::ExitCode;

fn main() -> ExitCode {
    helix_agent::main()
}
