//! Budgets: what may be served for one object, for one host and for one namespace, in the bytes that [`crate::cost()`] estimates.
//!
//! Who pays for a route is whose object names the host: the root's namespace for everything below a root, the Ingress's own otherwise. Were
//! it the namespace of an included child, anybody could use up its budget by including it a thousand times.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use contour_objects::ObjectRef;

use crate::few::Packed;

/// Budgets, in bytes of memory of every Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// For what one object writes, on one host.
    pub object: u64,
    /// For what one namespace pays for, on one host.
    pub host: u64,
    /// For what one namespace pays for, on all hosts.
    pub namespace: u64,
}

const MIB: u64 = 1 << 20;

/// How often a host's budget may be worked through until the rest is refused unseen: what is refused takes time, too.
const WORKED_THROUGH: u64 = 4;

impl Default for Budgets {
    fn default() -> Self {
        Self { object: 128 * MIB, host: 256 * MIB, namespace: 2048 * MIB }
    }
}

/// What namespaces spend.
pub(crate) type Spent = BTreeMap<Arc<str>, u64>;

/// What namespaces spend on other hosts than the one that is built.
#[derive(Clone, Copy)]
pub(crate) struct Elsewhere<'a> {
    pub(crate) all: &'a HashMap<Arc<str>, u64>,
    pub(crate) here: Option<&'a Packed<Arc<str>, u64>>,
}

impl Elsewhere<'_> {
    fn of(&self, namespace: &Arc<str>) -> u64 {
        let here = self.here.and_then(|spent| spent.get(namespace)).copied().unwrap_or_default();
        self.all.get(namespace).copied().unwrap_or_default().saturating_sub(here)
    }
}

/// Who is charged for routes.
#[derive(Clone, Debug)]
pub(crate) struct Bill {
    /// The object that wrote them.
    pub(crate) writer: ObjectRef,
    /// The object whose include adds most to each of them, and how much includes add.
    pub(crate) includer: Option<(ObjectRef, u64)>,
}

/// What stood on a bill at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    spent: u64,
    writer: u64,
    includer: u64,
}

/// A charge that a budget does not cover.
#[derive(Debug)]
pub(crate) struct TooLarge {
    /// The object it is told to.
    pub(crate) object: ObjectRef,
    pub(crate) by_include: bool,
    pub(crate) message: String,
}

/// The accounts of one build.
pub(crate) struct Ledger<'a> {
    budgets: Budgets,
    elsewhere: Elsewhere<'a>,
    payer: Arc<str>,
    spent: Spent,
    objects: BTreeMap<ObjectRef, u64>,
    /// Everything that was ever charged: it is not given back.
    work: u64,
    /// The objects that exceed a budget.
    excess: BTreeSet<ObjectRef>,
    /// Namespaces that have nothing left.
    short: BTreeSet<Arc<str>>,
}

/// What a build used.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) spent: Spent,
    pub(crate) work: u64,
    pub(crate) excess: BTreeSet<ObjectRef>,
    pub(crate) short: BTreeSet<Arc<str>>,
}

impl<'a> Ledger<'a> {
    pub(crate) fn new(budgets: Budgets, elsewhere: Elsewhere<'a>) -> Self {
        Self {
            budgets,
            elsewhere,
            payer: "".into(),
            spent: Spent::new(),
            objects: BTreeMap::new(),
            work: 0,
            excess: BTreeSet::new(),
            short: BTreeSet::new(),
        }
    }

    /// The namespace that pays from now on.
    pub(crate) fn pays(&mut self, namespace: &Arc<str>) {
        self.payer = Arc::clone(namespace);
    }

    /// The namespace that pays now.
    pub(crate) fn payer(&self) -> Arc<str> {
        Arc::clone(&self.payer)
    }

    /// Notes work that may come to nothing. It is bounded with the rest.
    pub(crate) fn work(&mut self, bill: &Bill, amount: u64) -> Result<(), TooLarge> {
        self.work += amount;
        if self.work <= self.budgets.host.saturating_mul(WORKED_THROUGH) {
            return Ok(());
        }
        let message =
            "building this host takes too much work: too much of it is refused or replaced by other routes; \
                       use fewer includes and routes, or another host"
                .to_owned();
        Err(self.exceeded(&bill.writer, false, message))
    }

    /// Whether there is room for a message of this length, which is charged.
    pub(crate) fn tells(&mut self, length: usize) -> bool {
        let payer = Arc::clone(&self.payer);
        let elsewhere = self.elsewhere.of(&payer);
        let spent = self.spent.entry(payer).or_default();
        let spends = *spent + length as u64;
        if spends > self.budgets.host || elsewhere + spends > self.budgets.namespace {
            return false;
        }
        *spent = spends;
        true
    }

    /// What stands on a bill, for [`Self::refund`].
    pub(crate) fn mark(&self, bill: &Bill) -> Mark {
        Mark {
            spent: self.spent.get(&self.payer).copied().unwrap_or_default(),
            writer: self.charged(&bill.writer),
            includer: bill.includer.as_ref().map_or(0, |(includer, _)| self.charged(includer)),
        }
    }

    /// Takes charges back: what they were for is not served.
    pub(crate) fn refund(&mut self, bill: &Bill, mark: Mark) {
        self.spent.insert(Arc::clone(&self.payer), mark.spent);
        self.objects.insert(bill.writer.clone(), mark.writer);
        if let Some((includer, _)) = &bill.includer {
            self.objects.insert(includer.clone(), mark.includer);
        }
    }

    /// Charges for a route. Nothing is charged if a budget does not cover it.
    pub(crate) fn charge(&mut self, bill: &Bill, amount: u64) -> Result<(), TooLarge> {
        self.work += amount;
        let (includer, inherited) = match &bill.includer {
            Some((includer, inherited)) => (Some(includer), amount.min(*inherited)),
            None => (None, 0),
        };
        let own = amount - inherited;
        let writes = self.charged(&bill.writer) + own;
        if writes > self.budgets.object {
            return Err(self.object_exceeded(&bill.writer, false, writes));
        }
        if let Some(includer) = includer {
            let adds = self.charged(includer) + inherited;
            if adds > self.budgets.object {
                return Err(self.object_exceeded(includer, true, adds));
            }
        }
        let (blamed, by_include) = match includer {
            Some(includer) if inherited > own => (includer, true),
            _ => (&bill.writer, false),
        };
        let spends = self.spent.get(&self.payer).copied().unwrap_or_default() + amount;
        self.check(blamed, by_include, spends)?;
        self.spent.insert(Arc::clone(&self.payer), spends);
        self.objects.insert(bill.writer.clone(), writes);
        if let Some(includer) = includer {
            *self.objects.entry(includer.clone()).or_default() += inherited;
        }
        Ok(())
    }

    /// Whether the budgets of the host and of the namespace cover what the payer spends here.
    fn check(&mut self, blamed: &ObjectRef, by_include: bool, spends: u64) -> Result<(), TooLarge> {
        let Budgets { host, namespace, .. } = self.budgets;
        let payer = Arc::clone(&self.payer);
        if spends > host {
            let size = shown(spends);
            let message = format!(
                "with this the host would take {size} of memory in every Envoy, more than the {} that namespace {payer} \
                 may have on one host; use fewer routes or shorter texts, or another host",
                shown(host)
            );
            return Err(self.exceeded(blamed, by_include, message));
        }
        let all = self.elsewhere.of(&payer) + spends;
        if all > namespace {
            let message = format!(
                "with this the hosts of namespace {payer} would take {} of memory in every Envoy, more than the {} that \
                 one namespace may have; use fewer hosts, routes, services or certificates, or another namespace",
                shown(all),
                shown(namespace)
            );
            self.short.insert(payer);
            return Err(self.exceeded(blamed, by_include, message));
        }
        Ok(())
    }

    fn charged(&self, object: &ObjectRef) -> u64 {
        self.objects.get(object).copied().unwrap_or_default()
    }

    fn object_exceeded(&mut self, object: &ObjectRef, by_include: bool, size: u64) -> TooLarge {
        let (what, way_out) = if by_include {
            ("the conditions of an include, on each route below it,", "use shorter conditions")
        } else {
            (
                "the routes of this object",
                "use fewer routes, services or certificates, shorter texts, or several objects",
            )
        };
        let message = format!(
            "{what} would take {} of memory in every Envoy, more than the {} that one object may have on one host; {way_out}",
            shown(size),
            shown(self.budgets.object)
        );
        self.exceeded(object, by_include, message)
    }

    fn exceeded(&mut self, object: &ObjectRef, by_include: bool, message: String) -> TooLarge {
        self.excess.insert(object.clone());
        TooLarge { object: object.clone(), by_include, message }
    }

    pub(crate) fn close(self) -> Account {
        let mut spent = self.spent;
        spent.retain(|_, amount| *amount > 0);
        Account { spent, work: self.work, excess: self.excess, short: self.short }
    }
}

/// Bytes as people read them.
fn shown(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(MIB);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
