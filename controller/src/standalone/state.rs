//! The state directory: private, and of one process at a time. And the ports, before anything is started.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

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
    /// Makes the directory if need be, and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, StateError> {
        let unusable = |source| StateError::Unusable { path: path.to_owned(), source };
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        }
        // Envoy runs elsewhere.
        let path = path.canonicalize().map_err(unusable)?;
        let mut options = File::options();
        let lock = options.create(true).truncate(false).read(true).write(true).open(path.join("lock"));
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
        // It holds keys. A directory of someone else stays as it is, and is reported when something cannot be written.
        let _ = fs::set_permissions(&path, Permissions::from_mode(0o700));
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
