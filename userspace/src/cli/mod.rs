//! The command line: what it takes, what it says, and its exit codes.

use std::fmt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(feature = "live")]
pub(crate) mod doctor;
#[cfg(feature = "live")]
mod feed;
#[cfg(feature = "live")]
mod links;
#[cfg(feature = "live")]
mod minutes;
#[cfg(feature = "live")]
mod observe;
#[cfg(feature = "live")]
mod open_files;
mod output;
#[cfg(feature = "live")]
mod privileges;
pub(crate) mod read;
#[cfg(feature = "live")]
pub(crate) mod run;
#[cfg(feature = "live")]
mod settings;
mod summary;
#[cfg(feature = "live")]
mod target;

/// Passive TLS decryption: mirrored frames and session keys in, HTTP transactions out.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[cfg_attr(feature = "live", expect(clippy::large_enum_variant, reason = "there is one in a process"))]
pub(crate) enum Command {
    /// Read captures and keys, print HTTP transactions.
    Read(read::Arguments),
    /// Capture a mirror's interfaces, take keys as they come, print HTTP transactions.
    #[cfg(feature = "live")]
    Run(run::Arguments),
    /// Check what a live run needs, say how to mend what is amiss.
    #[cfg(feature = "live")]
    Doctor(doctor::Arguments),
    /// Check what a live run needs: not in this build.
    #[cfg(not(feature = "live"))]
    #[command(hide = true, disable_help_flag = true)]
    Doctor {
        /// Whatever they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Capture live: not in this build.
    #[cfg(not(feature = "live"))]
    #[command(hide = true, disable_help_flag = true)]
    Run {
        /// Whatever they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Why the command ends without having done all: one line for the operator.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments, or what they name: exit code 2.
    Usage(String),
    /// Something failed while running: exit code 1.
    Running(String),
}

impl Failure {
    /// 2 for bad arguments, 1 for the rest.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Running(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Running(text) => f.write_str(text),
        }
    }
}
