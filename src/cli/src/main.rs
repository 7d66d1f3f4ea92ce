//! `helix`: the command line of Helix for people. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    helix_cli::main()
}
