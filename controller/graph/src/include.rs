//! The tree of includes below a root.

use std::collections::BTreeSet;
use std::sync::Arc;

use contour_crds::httpproxy::{Include, MatchCondition};
use contour_objects::{NamespacedName, Proxy};

use crate::build::{Build, Reported};
use crate::model::{Route, RouteMatch};
use crate::route::{BuiltRoute, origin, refuse};
use crate::{conditions, route};

/// More nodes than any real tree has: includes that fan out at every level would otherwise grow without bound.
const MOST_NODES: usize = 16_384;

/// More routes than any real host has, for the same reason.
const MOST_ROUTES: usize = 131_072;

/// A deeper tree than any real one: each level costs stack.
pub(crate) const MOST_LEVELS: usize = 64;

/// The status of requests whose include leads nowhere, as Contour does.
const BAD_INCLUDE: u16 = 502;

/// Builds the routes of a root and of everything it includes, in the order in which later ones replace earlier equal ones.
pub(crate) fn routes(b: &mut Build<'_>, root: &Proxy) -> Vec<BuiltRoute> {
    let mut walk = Walk { path: Vec::new(), nodes: 0, routes: Vec::new() };
    walk.node(b, root, &[]);
    walk.routes
}

/// A walk through the tree.
struct Walk {
    /// From the root to the current node.
    path: Vec<NamespacedName>,
    nodes: usize,
    routes: Vec<BuiltRoute>,
}

impl Walk {
    fn node(&mut self, b: &mut Build<'_>, proxy: &Proxy, chain: &[&MatchCondition]) {
        b.reach(&proxy.name);
        self.nodes += 1;
        self.path.push(proxy.name.clone());
        let mut seen = BTreeSet::new();
        for include in &proxy.spec.includes {
            // An invalid include was reported, and harms only itself.
            let _: Result<(), Reported> = self.include(b, proxy, chain, include, &mut seen);
        }
        let own: Result<Vec<BuiltRoute>, Reported> =
            proxy.spec.routes.iter().map(|spec| route::build(b, proxy, chain, spec)).collect();
        self.routes.extend(own.unwrap_or_default());
        self.path.pop();
    }

    fn include(
        &mut self,
        b: &mut Build<'_>,
        proxy: &Proxy,
        chain: &[&MatchCondition],
        include: &Include,
        seen: &mut BTreeSet<RouteMatch>,
    ) -> Result<(), Reported> {
        check_conditions(b, proxy, &include.conditions)?;
        let below: Vec<&MatchCondition> = chain.iter().copied().chain(&include.conditions).collect();
        let merged = conditions::merge(below.iter().copied());
        conditions::check_merged(&merged.path).map_err(|why| {
            let message = format!("include: {why}");
            b.error(&proxy.name, "IncludeError", "PathMatchConditionsNotValid", message)
        })?;
        let own = conditions::merge(include.conditions.iter());
        let bare = own == conditions::merge(std::iter::empty());
        if !seen.insert(own) && !bare {
            let message = "duplicate conditions defined on an include";
            return Err(b.error(&proxy.name, "IncludeError", "DuplicateMatchConditions", message));
        }
        let name = target(proxy, include.namespace.as_deref(), &include.name);
        let found = child(b, proxy, &name, "IncludeError");
        if found.is_err() && !include.conditions.is_empty() {
            let route = Route { matches: merged, action: refuse(BAD_INCLUDE), origin: origin(proxy) };
            // Without TLS, too: a redirect would only put the answer off.
            self.routes.push(BuiltRoute { route, permit_insecure: true });
        }
        self.descend(b, proxy, &found?, &below)
    }

    fn descend(
        &mut self,
        b: &mut Build<'_>,
        proxy: &Proxy,
        child: &Arc<Proxy>,
        chain: &[&MatchCondition],
    ) -> Result<(), Reported> {
        check_cycle(b, &self.path, &child.name, "IncludeError")?;
        let bounds = [
            ("levels", MOST_LEVELS, self.path.len()),
            ("nodes", MOST_NODES, self.nodes),
            ("routes", MOST_ROUTES, self.routes.len()),
        ];
        for (what, most, reached) in bounds {
            if reached >= most {
                let message =
                    format!("the tree of includes has more than {most} {what}; the rest is not served");
                return Err(b.error(&proxy.name, "IncludeError", "TooManyIncludes", message));
            }
        }
        self.node(b, child, chain);
        Ok(())
    }
}

/// The object an include names.
pub(crate) fn target(proxy: &Proxy, namespace: Option<&str>, name: &str) -> NamespacedName {
    match namespace {
        Some(namespace) => NamespacedName::new(namespace, name),
        None => NamespacedName { namespace: Arc::clone(&proxy.name.namespace), name: name.into() },
    }
}

/// Finds an included child; errors are the including HTTPProxy's.
pub(crate) fn child(
    b: &mut Build<'_>,
    proxy: &Proxy,
    name: &NamespacedName,
    kind: &'static str,
) -> Result<Arc<Proxy>, Reported> {
    let Some(child) = b.proxy(name).map(Arc::clone) else {
        return Err(b.error(&proxy.name, kind, "IncludeNotFound", format!("include {name} not found")));
    };
    if child.spec.virtualhost.is_some() {
        let message = format!("root httpproxy cannot include another root httpproxy ({name})");
        return Err(b.error(&proxy.name, kind, "RootIncludesRoot", message));
    }
    Ok(child)
}

/// Reports a cycle on the HTTPProxy that would be visited again.
pub(crate) fn check_cycle(
    b: &mut Build<'_>,
    path: &[NamespacedName],
    next: &NamespacedName,
    kind: &'static str,
) -> Result<(), Reported> {
    if !path.contains(next) {
        return Ok(());
    }
    let steps: Vec<String> = path.iter().chain([next]).map(ToString::to_string).collect();
    let message = format!("include creates an include cycle: {}", steps.join(" -> "));
    Err(b.error(next, kind, "IncludeCreatesCycle", message))
}

fn check_conditions(b: &mut Build<'_>, proxy: &Proxy, list: &[MatchCondition]) -> Result<(), Reported> {
    let name = &proxy.name;
    conditions::check_paths(list, true).map_err(|why| {
        b.error(name, "IncludeError", "PathMatchConditionsNotValid", format!("include: {why}"))
    })?;
    conditions::check_headers(list.iter())
        .map_err(|why| b.error(name, "RouteError", "HeaderMatchConditionsNotValid", why))?;
    for message in conditions::ignored_header_fields(list) {
        b.warn(name, "SpecError", "IgnoredField", message);
    }
    conditions::check_query(list.iter())
        .map_err(|why| b.error(name, "RouteError", "QueryParameterMatchConditionsNotValid", why))
}
