//! The `plaintap` command: parse, match on the mode, exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

mod cli;

fn main() -> ExitCode {
    // Secrets must not reach a core dump.
    plaintap_keystore::harden_process();
    let cli::Arguments { command } = cli::Arguments::parse();
    let done = match command {
        cli::Command::Read(arguments) => cli::read::run(&arguments),
        #[cfg(feature = "live")]
        cli::Command::Run(arguments) => cli::run::run(&arguments),
        #[cfg(feature = "live")]
        cli::Command::Doctor(arguments) => cli::doctor::run(&arguments),
        #[cfg(not(feature = "live"))]
        cli::Command::Run { .. } | cli::Command::Doctor { .. } => Err(cli::Failure::Usage(
            "this build has no live capture: make build, or cargo build --features live".to_owned(),
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Standard error may be closed.
            let _ = writeln!(io::stderr(), "plaintap: {failure}");
            failure.exit_code()
        }
    }
}
