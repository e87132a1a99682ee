//! Gives up what a run needs no more once its interfaces and sockets are set up.
//!
//! Linux keeps privileges by thread, and threads inherit them: all of this is done while there is only one (`capabilities(7)`).

use std::ffi::CString;
use std::io;

use nix::unistd::User;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

/// Who to become.
#[derive(Clone, Debug)]
pub(super) struct Account {
    name: String,
    /// Its number.
    pub(super) uid: Uid,
    /// Its first group.
    pub(super) gid: Gid,
}

/// What was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept(CapabilitySet);

impl Account {
    /// The account of that name; `None` if there is none.
    pub(super) fn find(name: &str) -> io::Result<Option<Self>> {
        let user = User::from_name(name).map_err(io::Error::from)?;
        Ok(user.map(|user| Self {
            name: user.name,
            uid: Uid::from_raw(user.uid.as_raw()),
            gid: Gid::from_raw(user.gid.as_raw()),
        }))
    }

    /// Its groups, the supplementary ones too.
    fn groups(&self) -> io::Result<Vec<Gid>> {
        let name = CString::new(self.name.as_str())?;
        let groups = nix::unistd::getgrouplist(&name, self.gid.as_raw().into()).map_err(io::Error::from)?;
        Ok(groups.into_iter().map(|gid| Gid::from_raw(gid.as_raw())).collect())
    }
}

/// Whether `works`, which needs what the maps of a loaded program need, does without any privilege. Linux up to 5.18 wants CAP_BPF
/// for every use of a map where `kernel.unprivileged_bpf_disabled` is set, later ones only for making one.
pub(super) fn works_without(works: impl FnOnce() -> bool) -> io::Result<bool> {
    let before = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..before })?;
    let worked = works();
    set_capabilities(None, before)?;
    Ok(worked)
}

/// Becomes `account`, if there is one, and gives up every capability but those of `keep` that there are. Nothing that this process
/// or a child of it does later can gain any.
pub(super) fn renounce(account: Option<&Account>, keep: CapabilitySet) -> io::Result<Kept> {
    let before = capabilities(None)?;
    let kept = keep & before.permitted;
    // Without CAP_SETPCAP the bounding set stays; no_new_privs makes it mean nothing.
    if before.effective.contains(CapabilitySet::SETPCAP) {
        for capability in (CapabilitySet::all() - kept).iter() {
            // One that this kernel does not know.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    if let Some(account) = account {
        set_thread_groups(&account.groups()?)?;
        set_thread_res_gid(account.gid, account.gid, account.gid)?;
        set_keep_capabilities(true)?;
        set_thread_res_uid(account.uid, account.uid, account.uid)?;
    }
    clear_ambient_capability_set()?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    set_no_new_privs(true)?;
    Ok(Kept(kept))
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, (name, _)) in self.0.iter_names().enumerate() {
            write!(f, "{}CAP_{name}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}
