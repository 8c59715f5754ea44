//! The tree of includes below a root.

use std::collections::BTreeSet;
use std::sync::Arc;

use contour_crds::httpproxy::{Include, MatchCondition, Route as RouteSpec};
use contour_objects::{Kind, NamespacedName, ObjectRef, Proxy};

use crate::budget::Bill;
use crate::build::{Build, Reported};
use crate::cost::{self, cost};
use crate::model::{Action, Route, RouteMatch};
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
    let twice = root.spec.virtualhost.as_ref().is_some_and(|host| host.tls.is_some());
    let mut walk = Walk { path: Vec::new(), includes: Vec::new(), nodes: 0, routes: Vec::new(), twice };
    walk.node(b, root, &[]);
    walk.routes
}

/// A walk through the tree.
struct Walk {
    /// From the root to the current node.
    path: Vec<NamespacedName>,
    /// The includes on that way: who wrote each, and what its conditions add to a route.
    includes: Vec<(ObjectRef, u64)>,
    nodes: usize,
    routes: Vec<BuiltRoute>,
    /// Routes are served without TLS, too, if only to redirect.
    twice: bool,
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
        let bill = self.bill(proxy);
        let before = b.mark(&bill);
        let own: Result<Vec<BuiltRoute>, Reported> =
            proxy.spec.routes.iter().map(|spec| self.own(b, proxy, chain, spec, &bill)).collect();
        match own {
            Ok(own) => self.routes.extend(own),
            Err(Reported) => b.refund(&bill, before),
        }
        self.path.pop();
    }

    fn own(
        &self,
        b: &mut Build<'_>,
        proxy: &Proxy,
        chain: &[&MatchCondition],
        spec: &RouteSpec,
        bill: &Bill,
    ) -> Result<BuiltRoute, Reported> {
        let inherited: u64 = self.includes.iter().map(|(_, adds)| adds).sum();
        b.work(bill, inherited + cost::conditions(&spec.conditions) + cost::reading(spec))?;
        let built = route::build(b, proxy, chain, spec)?;
        b.charge(bill, self.cost(&built), "RouteError")?;
        Ok(built)
    }

    /// What a route costs with its copies: without TLS, and with and without the slash at the end of a prefix that is rewritten.
    fn cost(&self, built: &BuiltRoute) -> u64 {
        let one = cost(&built.route);
        let plain = match (self.twice, built.permit_insecure) {
            (false, _) => 0,
            (true, false) => cost::matches(&built.route.matches),
            (true, true) => one,
        };
        let rewritten = matches!(&built.route.action, Action::Forward(forward) if forward.rewrite.is_some());
        (one + plain) * if rewritten { 3 } else { 1 }
    }

    fn bill(&self, proxy: &Proxy) -> Bill {
        let inherited: u64 = self.includes.iter().map(|(_, adds)| adds).sum();
        let most = self.includes.iter().max_by_key(|(_, adds)| *adds).filter(|_| inherited > 0);
        let times = if self.twice { 2 } else { 1 };
        let writer = ObjectRef::new(Kind::HttpProxy, proxy.name.clone());
        Bill { writer, includer: most.map(|(includer, _)| (includer.clone(), inherited * times)) }
    }

    fn include(
        &mut self,
        b: &mut Build<'_>,
        proxy: &Proxy,
        chain: &[&MatchCondition],
        include: &Include,
        seen: &mut BTreeSet<RouteMatch>,
    ) -> Result<(), Reported> {
        self.check_bounds(b, proxy)?;
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
            let built = BuiltRoute { route, permit_insecure: true };
            b.charge(&self.bill(proxy), self.cost(&built), "IncludeError")?;
            self.routes.push(built);
        }
        let writer = ObjectRef::new(Kind::HttpProxy, proxy.name.clone());
        self.includes.push((writer, cost::conditions(&include.conditions)));
        let done = found.and_then(|child| {
            check_cycle(b, &self.path, &child.name, "IncludeError")?;
            self.node(b, &child, &below);
            Ok(())
        });
        self.includes.pop();
        done
    }

    /// Checked before anything else of an include, since they are many where a bound is reached.
    fn check_bounds(&self, b: &mut Build<'_>, proxy: &Proxy) -> Result<(), Reported> {
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
    let Some(child) = b.proxy(name) else {
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
