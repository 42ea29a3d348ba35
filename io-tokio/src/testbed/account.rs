//! The system account that PostgreSQL runs as: it refuses to run as root.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::TestbedError;

/// Accounts a root caller drops to, best first.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The account to run servers as.
#[derive(Clone, Debug)]
pub(super) enum Account {
    /// The caller's own account, which is not root.
    Caller,
    /// The account that root drops to.
    Other {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
}

impl Account {
    /// The caller's account, or for root the first of `postgres` and `nobody` that the machine has.
    pub(super) fn choose() -> Result<Self, TestbedError> {
        if !caller_is_root()? {
            return Ok(Self::Caller);
        }
        let path = Path::new("/etc/passwd");
        let accounts = fs::read_to_string(path).map_err(|source| TestbedError::io("reading", path, source))?;
        UNPRIVILEGED
            .iter()
            .find_map(|name| ids_of(&accounts, name))
            .map(|(uid, gid)| Self::Other { uid, gid })
            .ok_or_else(|| {
                TestbedError::Refused(format!("PostgreSQL cannot run as root, and none of {UNPRIVILEGED:?} exists"))
            })
    }

    /// Makes `command` run as this account, with `home` as its home and working directory.
    pub(super) fn applied<'c>(&self, command: &'c mut Command, home: &Path) -> &'c mut Command {
        if let Self::Other { uid, gid } = *self {
            command.uid(uid).gid(gid);
        }
        command.env("HOME", home).current_dir(home)
    }

    /// Gives `path` to this account.
    pub(super) fn own(&self, path: &Path) -> Result<(), TestbedError> {
        match *self {
            Self::Caller => Ok(()),
            Self::Other { uid, gid } => {
                chown(path, Some(uid), Some(gid)).map_err(|source| TestbedError::io("giving away", path, source))
            }
        }
    }

    /// The folder for temporary files that this account can reach: the system's, or `/tmp` where that one is private to root.
    pub(super) fn temporary_folder(&self) -> PathBuf {
        let folder = std::env::temp_dir();
        let open = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
        match self {
            Self::Other { .. } if !folder.ancestors().all(open) => PathBuf::from("/tmp"),
            _ => folder,
        }
    }
}

/// Whether this process acts as root; the owner of `/proc/self` is the effective user.
pub(super) fn caller_is_root() -> Result<bool, TestbedError> {
    let path = Path::new("/proc/self");
    let owner: io::Result<_> = fs::metadata(path).map(|meta| meta.uid());
    owner.map(|uid| uid == 0).map_err(|source| TestbedError::io("reading the owner of", path, source))
}

/// User and group id of `name` in the text of `passwd(5)`.
fn ids_of(accounts: &str, name: &str) -> Option<(u32, u32)> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name);
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        found.then_some((uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use super::ids_of;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let accounts =
            "root:x:0:0:root:/root:/bin/sh\nnis+\npostgres2:x:7:8::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\n";
        assert_eq!(ids_of(accounts, "postgres"), Some((101, 104)));
        assert_eq!(ids_of(accounts, "nobody"), None);
    }
}
