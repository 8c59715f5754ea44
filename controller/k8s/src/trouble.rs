//! Why a watch does not work, in words that lead out of it.

use std::fmt;

use contour_objects::Scope;
use kube::core::Status;
use kube::runtime::watcher::Error;

use crate::client::innermost;
use crate::decode::resource;

/// A cause of watch errors. Two errors of one cause are told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The server does not know the kind: its CRD is not installed.
    NotInstalled,
    /// RBAC denies it.
    Forbidden,
    /// Our credentials are not accepted.
    Unauthorized,
    /// The server has forgotten the point at which the watch was to go on: everything is listed again. Part of normal life.
    Expired,
    /// The server refuses the request for another reason.
    Refused,
    /// There was no answer.
    Unreachable,
}

impl Cause {
    /// The `reason` label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotInstalled => "not_installed",
            Self::Forbidden => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// An error of a watch, ready to be told.
#[derive(Debug)]
pub(crate) struct Trouble<'a> {
    scope: &'a Scope,
    error: &'a Error,
    /// What class of error it is.
    pub(crate) cause: Cause,
}

impl<'a> Trouble<'a> {
    /// Reads the error of the watch of this scope.
    pub(crate) fn new(scope: &'a Scope, error: &'a Error) -> Self {
        let cause = match status(error).map(|s| s.code) {
            Some(404) => Cause::NotInstalled,
            Some(403) => Cause::Forbidden,
            Some(401) => Cause::Unauthorized,
            Some(410) => Cause::Expired,
            Some(_) => Cause::Refused,
            None => Cause::Unreachable,
        };
        Self { scope, error, cause }
    }

    /// Whether the server does not support, or does not allow here, that a watch begins with the list.
    pub(crate) fn rejects_streaming(&self) -> bool {
        matches!(self.error, Error::WatchStartFailed(_))
            && status(self.error).is_some_and(|s| matches!(s.code, 400 | 422))
    }
}

impl fmt::Display for Trouble<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = resource(self.scope.kind);
        let group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
        let name = format!("{}{group}", resource.plural);
        match self.cause {
            Cause::NotInstalled => write!(f, "CRD {name} is not installed: kubectl apply -f bundle/crds"),
            Cause::Forbidden => {
                let place = match &self.scope.namespace {
                    Some(namespace) => format!("in namespace {namespace}"),
                    None => "in all namespaces".to_owned(),
                };
                let verb = if matches!(self.error, Error::InitialListFailed(_)) { "list" } else { "watch" };
                write!(
                    f,
                    "not allowed to {verb} {name} {place}: let a Role or ClusterRole give this service account get, list and watch"
                )
            }
            Cause::Unauthorized => {
                write!(
                    f,
                    "the API server does not accept our credentials to watch {name}: check token or certificate"
                )
            }
            Cause::Expired => write!(f, "the watch of {name} fell too far behind: listing again"),
            Cause::Refused => {
                write!(f, "the API server refuses to let us watch {name}: {}", innermost(self.error))
            }
            Cause::Unreachable => write!(f, "the watch of {name} is interrupted: {}", innermost(self.error)),
        }
    }
}

/// The server's answer, where there was one.
pub(crate) fn status(error: &Error) -> Option<&Status> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status))
        | Error::WatchError(status) => Some(status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use contour_objects::Kind;

    use super::*;

    fn api(code: u16) -> kube::Error {
        kube::Error::Api(Status::failure("no", "No").with_code(code).boxed())
    }

    fn told(kind: Kind, error: &Error) -> String {
        Trouble::new(&Scope { kind, namespace: None }, error).to_string()
    }

    #[test]
    fn a_missing_crd_is_told_with_the_command_that_installs_it() {
        assert_eq!(
            told(Kind::HttpProxy, &Error::WatchStartFailed(api(404))),
            "CRD httpproxies.projectcontour.io is not installed: kubectl apply -f bundle/crds"
        );
    }

    #[test]
    fn missing_rights_are_told_with_verb_resource_and_place() {
        let error = Error::InitialListFailed(api(403));
        let scope = Scope { kind: Kind::EndpointSlice, namespace: Some("web".into()) };
        let text = Trouble::new(&scope, &error).to_string();
        assert!(
            text.starts_with("not allowed to list endpointslices.discovery.k8s.io in namespace web:"),
            "{text}"
        );
        let text = told(Kind::Secret, &Error::WatchStartFailed(api(403)));
        assert!(text.starts_with("not allowed to watch secrets in all namespaces:"), "{text}");
    }
}
