//! The state directory: private, and of one process at a time. And the ports, before anything is started.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

/// The state directory, held until this is dropped.
#[derive(Debug)]
pub(super) struct StateDirectory {
    path: PathBuf,
    _lock: File,
}

/// Why nothing can be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    /// Another process has the directory.
    #[error(
        "{path} is in use by another `contour standalone`, process {holder}: stop it, or give this one its own --state-dir"
    )]
    Held {
        /// The directory.
        path: PathBuf,
        /// The process' id, as it wrote it.
        holder: String,
    },
    /// The directory cannot be used.
    #[error("cannot use {path} for state: give a directory this user may write to with --state-dir")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else made what should be ours.
    #[error("{path} is a link or another user's: remove it, or give another directory with --state-dir")]
    Foreign {
        /// What was to be ours.
        path: PathBuf,
    },
    /// A port is taken.
    #[error("port {port} is in use: stop the program that holds it (`ss -ltnp 'sport = :{port}'` names it), or choose another with {flag}", port = address.port())]
    PortInUse {
        /// What was to be listened on.
        address: SocketAddr,
        /// What moves it.
        flag: &'static str,
    },
    /// An address cannot be listened on for another reason.
    #[error(
        "cannot listen on {address}: choose another port with {flag}, or another --listen-address; ports below 1024 need privileges"
    )]
    Address {
        /// What was to be listened on.
        address: SocketAddr,
        /// What moves it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl StateDirectory {
    /// Makes the directory if need be, and takes it. The mode of one that exists stays as it is.
    pub(super) fn take(path: &Path) -> Result<Self, StateError> {
        let unusable = |source| StateError::Unusable { path: path.to_owned(), source };
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(PRIVATE).create(path).map_err(unusable)?;
        }
        // Envoy runs elsewhere.
        let path = path.canonicalize().map_err(unusable)?;
        for name in OURS {
            claim(&path, name)?;
        }
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let lock = options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(path.join("lock"));
        let mut lock = lock.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder).map_err(unusable)?;
                return Err(StateError::Held { path, holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let written = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(unusable)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory, absolute.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// What only its owner may use.
const PRIVATE: u32 = 0o700;
/// The directories in it, which hold keys and what Envoy is started with.
const OURS: [&str; 3] = ["certs", "envoy", "status"];

/// Makes a directory in the state directory, or sees that nobody else made it: others may write to the state directory, as to `/tmp`.
fn claim(state: &Path, name: &str) -> Result<(), StateError> {
    let path = state.join(name);
    let unusable = |source| StateError::Unusable { path: path.clone(), source };
    match DirBuilder::new().mode(PRIVATE).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(unusable(error)),
        _ => {}
    }
    let found = path.symlink_metadata().map_err(unusable)?;
    let owner = state.metadata().map_err(unusable)?.uid();
    if found.is_dir() && (found.uid() == geteuid().as_raw() || found.uid() == owner) {
        Ok(())
    } else {
        Err(StateError::Foreign { path })
    }
}

/// Sees that every port is free. Envoy shares ports with other Envoys, so it would not notice.
pub(super) fn check_ports(ports: &[(&'static str, SocketAddr)]) -> Result<(), StateError> {
    for &(flag, address) in ports {
        TcpListener::bind(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StateError::PortInUse { address, flag },
            _ => StateError::Address { address, flag, source },
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_directory_has_one_holder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let held = StateDirectory::take(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let refused = StateDirectory::take(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(held);
        StateDirectory::take(&path).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn with_mode(parent: &Path, name: &str, mode: u32) -> PathBuf {
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.canonicalize().unwrap()
    }

    #[test]
    fn the_mode_of_a_directory_that_exists_stays() {
        let parent = tempfile::tempdir().unwrap();
        for (name, given) in [("own", 0o700), ("seen", 0o755), ("team", 0o2775), ("tmp", 0o1777)] {
            let path = with_mode(parent.path(), name, given);
            let held = StateDirectory::take(&path).unwrap();
            assert_eq!((held.path(), mode(&path)), (path.as_path(), given), "{name}");
            // What we make in it is ours alone.
            assert_eq!(mode(&path.join("lock")), 0o600);
            for ours in OURS {
                assert_eq!(mode(&path.join(ours)) & 0o777, 0o700);
            }
        }
        let made = parent.path().join("new/deep");
        let _held = StateDirectory::take(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
    }

    #[test]
    fn what_somebody_put_in_the_way_is_refused_and_stays() {
        let parent = tempfile::tempdir().unwrap();
        let victim = parent.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("precious"), "precious").unwrap();
        let (linked, file, lock) = (
            with_mode(parent.path(), "linked", 0o1777),
            with_mode(parent.path(), "file", 0o1777),
            with_mode(parent.path(), "lock", 0o1777),
        );
        symlink(&victim, linked.join("envoy")).unwrap();
        fs::write(file.join("certs"), "precious").unwrap();
        symlink(victim.join("precious"), lock.join("lock")).unwrap();
        for shared in [linked, file] {
            let refused = StateDirectory::take(&shared).unwrap_err().to_string();
            assert!(refused.contains("another directory with --state-dir"), "{refused}");
        }
        assert!(StateDirectory::take(&lock).is_err());
        assert_eq!(fs::read_to_string(victim.join("precious")).unwrap(), "precious");
        assert_eq!(victim.read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_taken_port_is_named_with_its_flag() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let refused = check_ports(&[("--http-port", address)]).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("port {} is in use", address.port()))
                && refused.contains("--http-port")
        );
        drop(taken);
        check_ports(&[("--http-port", address)]).unwrap();
    }
}
