//! The launcher as a service of its own; all of it is in [`helix_exec::launcher`].

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match helix_exec::launcher::program::main(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "{}", error.report());
            ExitCode::from(error.exit_code())
        }
    }
}
