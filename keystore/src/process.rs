//! Keeps the process's memory from the disk: no core dump, no other process's eyes, no swap. And its limit of open files.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// What [`harden_process`] came to.
#[derive(Debug)]
pub struct Hardening {
    /// `PR_SET_DUMPABLE` 0 (no dump, and only root may attach a debugger or read `/proc/PID/mem`) and `RLIMIT_CORE` 0.
    pub no_core_dump: io::Result<()>,
    /// `mlockall`.
    pub locked: LockOutcome,
}

/// Whether memory is locked.
#[derive(Debug)]
pub enum LockOutcome {
    /// Every page that is touched from now on stays in RAM.
    Locked,
    /// `RLIMIT_MEMLOCK` is finite and cannot be raised. Nothing is locked: with the limit reached, every later allocation of
    /// the process would fail.
    LimitTooLow {
        /// The limit in octets (`LimitMEMLOCK=infinity` in a systemd unit takes it away).
        limit: u64,
    },
    /// The kernel refused.
    Failed(io::Error),
}

/// Forbids core dumps of this process and locks its memory where the limit allows. To be called once, early, before
/// privileges are dropped; nothing is undone on failure, and nothing that fails is fatal.
///
/// All of the process's memory, as secrets pass through buffers of the TLS library, too. Pages are locked as they are
/// touched (`MCL_ONFAULT`, Linux 4.4), so that reserved address space costs nothing. See mlockall(2), prctl(2).
pub fn harden_process() -> Hardening {
    Hardening { no_core_dump: forbid_core_dumps(), locked: lock_memory() }
}

/// Makes the soft limit of open files `wanted`, if it is lower, or as near as it may come; the hard one too where that may be
/// raised (CAP_SYS_RESOURCE, setrlimit(2)). The soft limit as it is then.
pub fn raise_open_files(wanted: u64) -> u64 {
    let before = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if !enough(before.current) {
        let maximum = if enough(before.maximum) { before.maximum } else { Some(wanted) };
        if setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_err() {
            let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn forbid_core_dumps() -> io::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(setrlimit(Resource::Core, none)?)
}

fn lock_memory() -> LockOutcome {
    // Root, or CAP_SYS_RESOURCE, may raise it; for the others it says EPERM, and the limit stands.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    if let Some(limit) = getrlimit(Resource::Memlock).current {
        return LockOutcome::LimitTooLow { limit };
    }
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        Ok(()) => LockOutcome::Locked,
        Err(error) => LockOutcome::Failed(error.into()),
    }
}
