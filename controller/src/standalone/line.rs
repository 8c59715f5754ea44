//! What is told on standard output, as text and as JSON. Pure.

use std::collections::BTreeMap;
use std::fmt;

use contour_files::FileProblem;
use contour_graph::IngressNote;
use contour_graph::model::{Origin, SecureHost, VirtualHost};
use contour_graph::status::ProxyStatus;
use contour_objects::NamespacedName;
use serde::Serialize;

/// The ports that URLs are made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// Of HTTP.
    pub(super) http: u16,
    /// Of HTTPS.
    pub(super) https: u16,
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Line {
    /// Something in words: what was started, where, and what to do next.
    Note {
        /// The words.
        message: String,
    },
    /// A host is served, or served differently.
    Host(Served),
    /// A host is not served any more.
    HostGone {
        /// Its name.
        host: String,
    },
    /// The status of an HTTPProxy.
    Status(Status),
    /// An HTTPProxy is not there any more, or of another class.
    StatusGone {
        /// Namespace and name.
        object: String,
    },
    /// What is not served of an Ingress.
    Ingress {
        /// Namespace and name.
        object: String,
        /// The host it is about.
        host: String,
        /// What is wrong.
        message: String,
    },
    /// A problem of a file.
    Problem(FileProblem),
    /// A problem that is gone.
    Solved(FileProblem),
    /// Envoy was started.
    EnvoyStarted {
        /// Its process id.
        pid: u32,
    },
    /// Envoy ended by itself.
    EnvoyDied {
        /// How.
        status: String,
        /// After this time it is started again.
        again_in_ms: u64,
        /// What it complained about last.
        log: Vec<String>,
    },
}

/// A host that is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Served {
    /// Its name.
    pub(super) host: String,
    /// Where.
    pub(super) urls: Vec<String>,
    /// The objects its routes are written in, those that have one with their `currentStatus`.
    pub(super) objects: BTreeMap<String, Option<&'static str>>,
}

/// The status of an HTTPProxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Status {
    /// Namespace and name.
    pub(super) object: String,
    /// The generation it is about.
    pub(super) generation: i64,
    /// `valid`, `invalid` or `orphaned`.
    #[serde(rename = "currentStatus")]
    pub(super) current: &'static str,
    /// `status.description`
    pub(super) description: String,
    /// What is wrong.
    pub(super) errors: Vec<String>,
    /// What is ignored.
    pub(super) warnings: Vec<String>,
}

impl Line {
    /// Words.
    pub(super) fn note(message: impl Into<String>) -> Self {
        Self::Note { message: message.into() }
    }

    /// A status.
    pub(super) fn status(status: &ProxyStatus) -> Self {
        Self::Status(Status {
            object: status.object.to_string(),
            generation: status.generation,
            current: status.state().as_str(),
            description: status.description().to_owned(),
            errors: status.errors.iter().map(ToString::to_string).collect(),
            warnings: status.warnings.iter().map(ToString::to_string).collect(),
        })
    }

    /// An HTTPProxy that is gone.
    pub(super) fn gone(object: &NamespacedName) -> Self {
        Self::StatusGone { object: object.to_string() }
    }

    /// What an Ingress has to tell.
    pub(super) fn ingress(note: &IngressNote) -> Self {
        Self::Ingress {
            object: note.ingress.to_string(),
            host: note.host.to_string(),
            message: note.message.clone(),
        }
    }
}

impl Served {
    /// What a host serves, on these ports, by objects in these states.
    pub(super) fn of(
        host: &VirtualHost,
        ports: Ports,
        state: impl Fn(&NamespacedName) -> Option<&'static str>,
    ) -> Self {
        let Ports { http, https } = ports;
        let mut urls = Vec::new();
        if !host.plain.is_empty() {
            urls.push(format!("http://{}:{http}", host.fqdn));
        }
        match &host.secure {
            None => {}
            Some(SecureHost::Http { .. }) => urls.push(format!("https://{}:{https}", host.fqdn)),
            Some(SecureHost::Tcp { .. } | SecureHost::Passthrough { .. }) => {
                urls.push(format!("tls://{}:{https}", host.fqdn));
            }
        }
        let object = |origin: &Origin| {
            let state = if origin.kind == "HTTPProxy" { state(&origin.object) } else { None };
            (format!("{} {}", origin.kind, origin.object), state)
        };
        let objects = origins(host).map(object).collect();
        Self { host: host.fqdn.to_string(), urls, objects }
    }
}

/// The objects a host is written in.
fn origins(host: &VirtualHost) -> impl Iterator<Item = &Origin> {
    let (routes, proxy) = match &host.secure {
        None => (&[][..], None),
        Some(SecureHost::Http { routes, .. }) => (routes.as_slice(), None),
        Some(SecureHost::Tcp { proxy, .. } | SecureHost::Passthrough { proxy }) => {
            (&[][..], Some(&proxy.origin))
        }
    };
    host.plain.iter().chain(routes).map(|route| &route.origin).chain(proxy)
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note { message } => f.write_str(message),
            Self::Host(Served { urls, objects, .. }) => {
                let objects = objects.iter().map(|(object, state)| match state {
                    Some(state) => format!("{object} ({state})"),
                    None => object.clone(),
                });
                let objects: Vec<String> = objects.collect();
                write!(f, "serving {} -> {}", urls.join(" "), objects.join(", "))
            }
            Self::HostGone { host } => write!(f, "not serving {host} any more"),
            Self::Status(status) => write!(f, "{status}"),
            Self::StatusGone { object } => write!(f, "HTTPProxy {object}: gone, or of another class"),
            Self::Ingress { object, host, message } => write!(f, "Ingress {object}: {host}: {message}"),
            Self::Problem(problem) => write!(f, "{problem}"),
            Self::Solved(problem) => write!(f, "solved: {problem}"),
            Self::EnvoyStarted { pid } => write!(f, "Envoy runs, process {pid}"),
            Self::EnvoyDied { status, again_in_ms, log } => {
                write!(f, "Envoy died ({status}); it is started again in {again_in_ms} ms")?;
                log.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTPProxy {}: {}", self.object, self.current)?;
        match self.errors.as_slice() {
            [] => {}
            [error] => write!(f, ": {error}")?,
            errors => errors.iter().try_for_each(|error| write!(f, "\n  error: {error}"))?,
        }
        self.warnings.iter().try_for_each(|warning| write!(f, "\n  warning: {warning}"))
    }
}

#[cfg(test)]
mod tests {
    use contour_graph::status::Issue;

    use super::*;

    #[test]
    fn a_status_explains_itself_in_one_line_where_it_can() {
        let mut status = ProxyStatus {
            object: NamespacedName::new("team", "www"),
            generation: 1,
            errors: Vec::new(),
            warnings: Vec::new(),
            holds: None,
        };
        assert_eq!(Line::status(&status).to_string(), "HTTPProxy team/www: valid");
        status.errors.push(Issue::new("ServiceError", "ServiceUnresolvedReference", "no service"));
        status.warnings.push(Issue::new("SpecError", "Unused", "unused"));
        assert_eq!(
            Line::status(&status).to_string(),
            "HTTPProxy team/www: invalid: ServiceError/ServiceUnresolvedReference: no service\n  warning: SpecError/Unused: unused"
        );
        let json = serde_json::to_value(Line::status(&status)).unwrap();
        assert_eq!(json["event"], "status");
        assert_eq!(json["currentStatus"], "invalid");
    }

    #[test]
    fn a_dead_envoy_shows_the_end_of_its_log() {
        let line = Line::EnvoyDied {
            status: "signal: 9".to_owned(),
            again_in_ms: 250,
            log: vec!["last".to_owned()],
        };
        assert_eq!(line.to_string(), "Envoy died (signal: 9); it is started again in 250 ms\n  last");
    }
}
