//! What a process with secrets does to itself first.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Keeps the memory of this process out of files and out of other users' debuggers: no core
/// dumps, and not dumpable, so that processes of the same user cannot attach or read its
/// environment either (Linux, `prctl(PR_SET_DUMPABLE)`). Root still can. Memory may be
/// swapped: locking single pages needs `unsafe`; the unit file keeps the service out of swap.
///
/// # Errors
/// What the system refuses.
pub fn keep_secrets_in() -> std::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // A service manager may have set it, and forbidden the call.
    if getrlimit(Resource::Core) != none {
        setrlimit(Resource::Core, none)?;
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn no_core_dumps_and_not_dumpable() {
        keep_secrets_in().unwrap();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        keep_secrets_in().unwrap();
    }
}
