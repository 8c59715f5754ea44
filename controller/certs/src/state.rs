//! A directory that keeps a CA and the leaves of both sides, for installations without anyone else to do so.
//!
//! ```text
//! ca/       tls.crt, tls.key: the CA that issues;  ca.crt: all CAs that are trusted
//! contour/  ca.crt, tls.crt, tls.key: for the controller
//! envoy/    ca.crt, tls.crt, tls.key: for Envoy
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use thiserror::Error;

use crate::bundle::{at, make_directory, read};
use crate::{
    Authority, Bundle, BundleError, CA_FILE, CERTIFICATE_FILE, Certificate, Change, Held, IssueError,
    KEY_FILE, Leaf, Party, Peer, Policy, Step, advance, write_bundle, write_private,
};

/// Directory of the CA.
const AUTHORITY: &str = "ca";
/// Held for as long as [`ensure`] works, so that two processes never rotate at once.
const LOCK: &str = ".lock";

/// What [`ensure`] found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensured {
    /// In one word.
    pub outcome: Outcome,
    /// What was done and why, one sentence each: for the log.
    pub notes: Vec<String>,
    /// Earliest end of validity of the leaves.
    pub expires: Timestamp,
    /// When to call again.
    pub next: Timestamp,
}

/// What became of the certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was no usable CA: a new one was made.
    Created,
    /// A step of the rotation was taken, or damage repaired.
    Renewed,
    /// Nothing was due, nothing was written.
    Kept,
}

/// Why the state could not be brought up to date. What was valid is still there.
#[derive(Debug, Error)]
pub enum StateError {
    /// Reading or writing failed.
    #[error(transparent)]
    Files(#[from] BundleError),
    /// The policy asks for the impossible.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Makes `directory` hold a CA and two leaves that are valid and not due, taking the next step of the rotation if it is
/// time for one. To be called at the start and again at [`Ensured::next`]. Blocks for a few file operations.
///
/// What is missing, damaged or expired is replaced; what cannot be used is set aside in `unusable-N/` first. Files that
/// cannot be read for another reason (permissions, a failing disk) are an error, and nothing is touched.
pub fn ensure(directory: &Path, now: Timestamp, policy: &Policy) -> Result<Ensured, StateError> {
    make_directory(directory)?;
    let lock_file = directory.join(LOCK);
    let lock = at("open", &lock_file, File::options().create(true).append(true).open(&lock_file))?;
    at("lock", &lock_file, lock.lock())?;

    let mut notes = Vec::new();
    let stored = Stored::read_all(directory)?;
    let held = load(directory, &stored, &mut notes)?;
    let Step { held, changes, next } = advance(held, now, &Peer::SILENT, policy)?;
    notes.extend(changes.iter().map(|change| describe(change, &held)));
    let mut outcome = Outcome::Kept;
    for (stored, bundle) in stored.iter().zip(bundles(&held)) {
        if !stored.holds(&bundle) {
            write_bundle(&directory.join(stored.name), &bundle)?;
            outcome = Outcome::Renewed;
        }
    }
    if changes.contains(&Change::AuthorityCreated) {
        outcome = Outcome::Created;
    }
    let leaves = Party::ALL.into_iter().filter_map(|party| held.leaf(party));
    let expires = leaves.map(|leaf| leaf.certificate().not_after()).min().unwrap_or(Timestamp::MAX);
    Ok(Ensured { outcome, notes, expires, next })
}

/// One of the directories, as it was found.
struct Stored {
    name: &'static str,
    ca: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl Stored {
    /// The CA's directory, then one per [`Party::ALL`]: the order in which they are written, since an interruption must
    /// leave new CAs known.
    fn read_all(directory: &Path) -> Result<[Self; 3], BundleError> {
        let stored = |name| {
            let directory = directory.join(name);
            let [ca, certificate, key] =
                [CA_FILE, CERTIFICATE_FILE, KEY_FILE].map(|file| read(&directory, file));
            Ok(Self { name, ca: ca?, certificate: certificate?, key: key? })
        };
        Ok([stored(AUTHORITY)?, stored(Party::Contour.name())?, stored(Party::Envoy.name())?])
    }

    fn files(&self) -> [(&'static str, Option<&[u8]>); 3] {
        let Self { ca, certificate, key, .. } = self;
        [(CA_FILE, ca.as_deref()), (CERTIFICATE_FILE, certificate.as_deref()), (KEY_FILE, key.as_deref())]
    }

    fn holds(&self, bundle: &Bundle) -> bool {
        let wanted = [&bundle.ca, &bundle.certificate, bundle.key.pem()].map(str::as_bytes);
        self.files().map(|(_, content)| content) == wanted.map(Some)
    }

    /// Certificate and key as text; `None` if neither is there.
    fn pair(&self) -> Option<Result<(&str, &str), Unusable>> {
        if self.certificate.is_none() && self.key.is_none() {
            return None;
        }
        let [_, (certificate_file, certificate), (key_file, key)] = self.files();
        Some(
            text(certificate_file, certificate)
                .and_then(|certificate| Ok((certificate, text(key_file, key)?))),
        )
    }

    /// Loads certificate and key by `load`. What it refuses is copied to a place where nobody looks for it.
    fn load<T>(
        &self,
        directory: &Path,
        notes: &mut Vec<String>,
        load: impl Fn(&str, &str) -> Result<T, IssueError>,
    ) -> Result<Option<T>, BundleError> {
        let Some(pair) = self.pair() else { return Ok(None) };
        let loaded = pair.and_then(|(certificate, key)| Ok(load(certificate, key)?));
        let Err(cause) = loaded else { return Ok(loaded.ok()) };
        let aside = self.set_aside(directory)?;
        let (name, directory) = (self.name, directory.display());
        notes.push(format!(
            "{directory}/{name} is unusable: {cause}; kept in {} and replaced",
            aside.display()
        ));
        Ok(None)
    }

    /// Copies the files to a new directory beside.
    fn set_aside(&self, directory: &Path) -> Result<PathBuf, BundleError> {
        let free = |number: &u32| !directory.join(format!("unusable-{number}")).exists();
        let number = (1..=u32::MAX).find(free).expect("a directory holds fewer than 2^32 entries");
        let aside = directory.join(format!("unusable-{number}")).join(self.name);
        make_directory(&aside)?;
        for (name, content) in self.files() {
            if let Some(content) = content {
                write_private(&aside.join(name), content)?;
            }
        }
        Ok(aside)
    }
}

/// The content of a file as text.
fn text<'a>(name: &'static str, content: Option<&'a [u8]>) -> Result<&'a str, Unusable> {
    let content = content.ok_or(Unusable::Missing(name))?;
    str::from_utf8(content).map_err(|_| Unusable::NoText(name))
}

/// Why certificate and key of a directory cannot be used.
#[derive(Debug, Error)]
enum Unusable {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is not text")]
    NoText(&'static str),
    #[error(transparent)]
    Issue(#[from] IssueError),
}

fn load(directory: &Path, stored: &[Stored; 3], notes: &mut Vec<String>) -> Result<Held, BundleError> {
    let [authority, contour, envoy] = stored;
    let bundles = stored.iter().filter_map(|stored| str::from_utf8(stored.ca.as_deref()?).ok());
    let trusted = bundles.flat_map(Certificate::parse_valid).filter(Certificate::is_authority);
    Ok(Held {
        trusted: trusted.collect(),
        authority: authority.load(directory, notes, Authority::load)?,
        former: None,
        contour: contour.load(directory, notes, Leaf::load)?,
        envoy: envoy.load(directory, notes, Leaf::load)?,
    })
}

/// What each directory is to hold, in the order of [`Stored::read_all`].
fn bundles(held: &Held) -> Vec<Bundle> {
    let ca = held.trust_bundle();
    let authority = held.authority.as_ref();
    let authority = authority.map(|authority| (authority.certificate().pem(), authority.key()));
    let leaves = Party::ALL.into_iter().map(|party| held.leaf(party).map(|leaf| (leaf.chain(), leaf.key())));
    let pairs = std::iter::once(authority).chain(leaves).flatten();
    pairs.map(|(pem, key)| Bundle { ca: ca.clone(), certificate: pem.to_owned(), key: key.clone() }).collect()
}

fn describe(change: &Change, held: &Held) -> String {
    let until = |certificate: Option<&Certificate>| {
        certificate
            .map(|certificate| format!(", valid until {}", certificate.not_after()))
            .unwrap_or_default()
    };
    let authority = until(held.authority.as_ref().map(Authority::certificate));
    match change {
        Change::AuthorityCreated => format!("made a CA{authority}"),
        Change::AuthorityRenewed => format!("made a new CA{authority}; the old one stays trusted for now"),
        Change::LeafIssued(party) => {
            let until = until(held.leaf(*party).map(Leaf::certificate));
            format!("issued the certificate of {}{until}", party.name())
        }
        Change::AuthorityDropped => String::from("a former CA is not trusted any more"),
    }
}
