//! The store: what is known, and what an event changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{
    Delegation, EndpointSlice, Ingress, Kind, Namespace, NamespacedName, ObjectRef, Proxy, Secret, Service,
};

/// A parsed object of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// HTTPProxy
    HttpProxy(Arc<Proxy>),
    /// Ingress
    Ingress(Arc<Ingress>),
    /// Service
    Service(Arc<Service>),
    /// EndpointSlice
    EndpointSlice(Arc<EndpointSlice>),
    /// Secret
    Secret(Arc<Secret>),
    /// Namespace
    Namespace(Arc<Namespace>),
    /// TLSCertificateDelegation
    Delegation(Arc<Delegation>),
}

impl Object {
    /// Kind and name of the object.
    pub fn reference(&self) -> ObjectRef {
        let (kind, name) = match self {
            Self::HttpProxy(o) => (Kind::HttpProxy, &o.name),
            Self::Ingress(o) => (Kind::Ingress, &o.name),
            Self::Service(o) => (Kind::Service, &o.name),
            Self::EndpointSlice(o) => (Kind::EndpointSlice, &o.name),
            Self::Secret(o) => (Kind::Secret, &o.name),
            Self::Namespace(o) => (Kind::Namespace, &o.name),
            Self::Delegation(o) => (Kind::Delegation, &o.name),
        };
        ObjectRef::new(kind, name.clone())
    }
}

/// What a relist covers: a kind, in all namespaces or in one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// The kind.
    pub kind: Kind,
    /// The only namespace covered; `None`: all.
    pub namespace: Option<Arc<str>>,
}

/// What a source tells.
#[derive(Clone, Debug)]
pub enum Event {
    /// The object exists with this content.
    Apply(Object),
    /// The object does not exist.
    Delete(ObjectRef),
    /// These and no others exist within the scope: a list at start-up or after a lost watch, applied at once.
    Replace(Scope, Vec<Object>),
}

/// What really changed: the input of every incremental step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Changed objects, except EndpointSlices; of those, what is [left out](EndpointSlice::left_out) is a change of their Service.
    pub objects: BTreeSet<ObjectRef>,
    /// Services whose endpoints changed.
    pub endpoints: BTreeSet<NamespacedName>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.endpoints.is_empty()
    }
}

type Map<T> = BTreeMap<NamespacedName, Arc<T>>;

/// All objects of interest, by kind. Between two calls of [`Store::apply`] it is the immutable snapshot a build reads.
#[derive(Clone, Debug, Default)]
pub struct Store {
    proxies: Map<Proxy>,
    ingresses: Map<Ingress>,
    services: Map<Service>,
    secrets: Map<Secret>,
    namespaces: Map<Namespace>,
    delegations: Map<Delegation>,
    /// How many grants let each namespace, or all (`*`), refer to a Secret.
    granted: BTreeMap<NamespacedName, BTreeMap<Arc<str>, usize>>,
    slices: Map<EndpointSlice>,
    slices_of: BTreeMap<NamespacedName, BTreeSet<NamespacedName>>,
    /// The slices of a Service of which something is left out.
    incomplete: BTreeMap<NamespacedName, BTreeSet<NamespacedName>>,
}

impl Store {
    /// Takes an event in and adds what it changed to `changes`. Content equal to what is known changes nothing.
    pub fn apply(&mut self, event: Event, changes: &mut Changes) {
        match event {
            Event::Apply(object) => self.set(object, changes),
            Event::Delete(reference) => self.remove(&reference, changes),
            Event::Replace(scope, objects) => {
                let listed: BTreeSet<ObjectRef> = objects.iter().map(Object::reference).collect();
                let gone: Vec<_> = self.names(&scope).filter(|r| !listed.contains(r)).collect();
                for reference in &gone {
                    self.remove(reference, changes);
                }
                for object in objects {
                    self.set(object, changes);
                }
            }
        }
    }

    fn set(&mut self, object: Object, changes: &mut Changes) {
        let reference = object.reference();
        let differs = match object {
            Object::HttpProxy(o) => put(&mut self.proxies, o.name.clone(), o),
            Object::Ingress(o) => put(&mut self.ingresses, o.name.clone(), o),
            Object::Service(o) => put(&mut self.services, o.name.clone(), o),
            Object::Secret(o) => put(&mut self.secrets, o.name.clone(), o),
            Object::Namespace(o) => put(&mut self.namespaces, o.name.clone(), o),
            Object::Delegation(o) => self.set_delegation(o),
            Object::EndpointSlice(o) => return self.set_slice(&o, changes),
        };
        if differs {
            changes.objects.insert(reference);
        }
    }

    fn set_delegation(&mut self, delegation: Arc<Delegation>) -> bool {
        let old = self.delegations.get(&delegation.name).cloned();
        if old.as_ref() == Some(&delegation) {
            return false;
        }
        if let Some(old) = old {
            self.grant(&old, false);
        }
        self.grant(&delegation, true);
        self.delegations.insert(delegation.name.clone(), delegation);
        true
    }

    /// Counts what a delegation grants, or does no longer.
    fn grant(&mut self, delegation: &Delegation, more: bool) {
        for grant in &delegation.grants {
            let secret =
                NamespacedName::new(Arc::clone(&delegation.name.namespace), Arc::clone(&grant.secret));
            let targets = self.granted.entry(secret.clone()).or_default();
            for target in &grant.targets {
                let count = targets.entry(Arc::clone(target)).or_default();
                *count = if more { *count + 1 } else { count.saturating_sub(1) };
                if *count == 0 {
                    targets.remove(target);
                }
            }
            if targets.is_empty() {
                self.granted.remove(&secret);
            }
        }
    }

    fn set_slice(&mut self, slice: &Arc<EndpointSlice>, changes: &mut Changes) {
        let (name, service) = (slice.name.clone(), slice.service.clone());
        let mut told = None;
        match self.slices.insert(name.clone(), Arc::clone(slice)) {
            Some(old) if old == *slice => return,
            Some(old) if old.service != service => self.unlink_slice(&old, changes),
            Some(old) => told.clone_from(&old.left_out),
            None => {}
        }
        if told != slice.left_out {
            changes.objects.insert(ObjectRef::new(Kind::Service, service.clone()));
        }
        if slice.left_out.is_some() {
            self.incomplete.entry(service.clone()).or_default().insert(name.clone());
        } else {
            take_from(&mut self.incomplete, &service, &name);
        }
        self.slices_of.entry(service.clone()).or_default().insert(name);
        changes.endpoints.insert(service);
    }

    fn unlink_slice(&mut self, old: &EndpointSlice, changes: &mut Changes) {
        take_from(&mut self.slices_of, &old.service, &old.name);
        take_from(&mut self.incomplete, &old.service, &old.name);
        if old.left_out.is_some() {
            changes.objects.insert(ObjectRef::new(Kind::Service, old.service.clone()));
        }
        changes.endpoints.insert(old.service.clone());
    }

    fn remove(&mut self, reference: &ObjectRef, changes: &mut Changes) {
        let name = &reference.name;
        let existed = match reference.kind {
            Kind::HttpProxy => self.proxies.remove(name).is_some(),
            Kind::Ingress => self.ingresses.remove(name).is_some(),
            Kind::Service => self.services.remove(name).is_some(),
            Kind::Secret => self.secrets.remove(name).is_some(),
            Kind::Namespace => self.namespaces.remove(name).is_some(),
            Kind::Delegation => {
                let old = self.delegations.remove(name);
                old.as_ref().inspect(|old| self.grant(old, false)).is_some()
            }
            Kind::EndpointSlice => {
                if let Some(old) = self.slices.remove(name) {
                    self.unlink_slice(&old, changes);
                }
                return;
            }
        };
        if existed {
            changes.objects.insert(reference.clone());
        }
    }

    /// References to every object within the scope.
    fn names<'a>(&'a self, scope: &'a Scope) -> Box<dyn Iterator<Item = ObjectRef> + 'a> {
        let kind = scope.kind;
        let keys: Box<dyn Iterator<Item = &NamespacedName>> = match kind {
            Kind::HttpProxy => Box::new(self.proxies.keys()),
            Kind::Ingress => Box::new(self.ingresses.keys()),
            Kind::Service => Box::new(self.services.keys()),
            Kind::EndpointSlice => Box::new(self.slices.keys()),
            Kind::Secret => Box::new(self.secrets.keys()),
            Kind::Namespace => Box::new(self.namespaces.keys()),
            Kind::Delegation => Box::new(self.delegations.keys()),
        };
        Box::new(
            keys.filter(|n| scope.namespace.as_ref().is_none_or(|only| n.namespace == *only))
                .map(move |n| ObjectRef::new(kind, n.clone())),
        )
    }

    /// How many objects of this kind are held.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::HttpProxy => self.proxies.len(),
            Kind::Ingress => self.ingresses.len(),
            Kind::Service => self.services.len(),
            Kind::EndpointSlice => self.slices.len(),
            Kind::Secret => self.secrets.len(),
            Kind::Namespace => self.namespaces.len(),
            Kind::Delegation => self.delegations.len(),
        }
    }

    /// All HTTPProxies, by name.
    pub fn proxies(&self) -> impl Iterator<Item = &Arc<Proxy>> {
        self.proxies.values()
    }

    /// All Ingresses, by name.
    pub fn ingresses(&self) -> impl Iterator<Item = &Arc<Ingress>> {
        self.ingresses.values()
    }

    /// The HTTPProxy of this name.
    pub fn proxy(&self, name: &NamespacedName) -> Option<&Arc<Proxy>> {
        self.proxies.get(name)
    }

    /// The Ingress of this name.
    pub fn ingress(&self, name: &NamespacedName) -> Option<&Arc<Ingress>> {
        self.ingresses.get(name)
    }

    /// The Service of this name.
    pub fn service(&self, name: &NamespacedName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// The Secret of this name.
    pub fn secret(&self, name: &NamespacedName) -> Option<&Arc<Secret>> {
        self.secrets.get(name)
    }

    /// The Namespace of this name.
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.namespaces.get(&NamespacedName::new("", name))
    }

    /// Whether a delegation lets objects of `namespace` refer to this Secret. Its own namespace always may.
    pub fn delegated(&self, secret: &NamespacedName, namespace: &str) -> bool {
        if *secret.namespace == *namespace {
            return true;
        }
        let granted = self.granted.get(secret);
        granted.is_some_and(|targets| targets.contains_key("*") || targets.contains_key(namespace))
    }

    /// The EndpointSlices of a Service, by name.
    pub fn slices(&self, service: &NamespacedName) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices_of.get(service).into_iter().flatten().filter_map(|name| self.slices.get(name))
    }

    /// The first EndpointSlice of a Service of which something is left out.
    pub fn incomplete_slice(&self, service: &NamespacedName) -> Option<&Arc<EndpointSlice>> {
        self.incomplete.get(service).and_then(BTreeSet::first).and_then(|name| self.slices.get(name))
    }
}

/// Takes a name out of a group.
fn take_from(
    groups: &mut BTreeMap<NamespacedName, BTreeSet<NamespacedName>>,
    group: &NamespacedName,
    name: &NamespacedName,
) {
    if let Some(names) = groups.get_mut(group) {
        names.remove(name);
        if names.is_empty() {
            groups.remove(group);
        }
    }
}

/// Stores a value; whether it differs from what was there.
fn put<T: PartialEq>(map: &mut Map<T>, name: NamespacedName, value: Arc<T>) -> bool {
    match map.get_mut(&name) {
        Some(old) if *old == value => false,
        Some(old) => {
            *old = value;
            true
        }
        None => {
            map.insert(name, value);
            true
        }
    }
}
