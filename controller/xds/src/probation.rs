//! Whose changes a peer refuses again and again: held back as a whole for a while.
//!
//! What is refused costs a response or several, and those who wait for the next. So each origin may have a number of refusals at a time, of
//! which one is forgotten now and then. When they are used up, nothing new of that origin is tried for a pause, good or bad; the peer
//! keeps what it has of it, and what is removed goes. After the pause a few more are allowed, then comes a pause twice as long. When all
//! refusals are forgotten, so are the pauses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contour_resource::Part;

/// So many refusals of one origin, and it is held back.
const MOST: u32 = 64;
/// After each pause so many of them are free again. More than a search takes to tell a bad head, which is ours, from its parts.
const FREED: u32 = 16;
/// The time in which one refusal is forgotten.
const FORGETTING: Duration = Duration::from_secs(10);
/// The first pause.
const PAUSE: Duration = Duration::from_secs(10);
/// No pause is longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(320);

/// What is remembered of an origin.
#[derive(Debug)]
struct Record {
    refusals: u32,
    /// Until when refusals have been forgotten.
    since: Instant,
    pauses: u32,
    /// How long the present pause is, and its end.
    held: Option<(Duration, Instant)>,
}

impl Record {
    fn forget(&mut self, now: Instant) {
        let spans = now.saturating_duration_since(self.since).as_secs() / FORGETTING.as_secs();
        let spans = u32::try_from(spans).unwrap_or(u32::MAX);
        self.since += FORGETTING.saturating_mul(spans);
        self.refusals = self.refusals.saturating_sub(spans);
        if self.refusals == 0 {
            (self.since, self.pauses) = (now, 0);
        }
    }
}

/// One part that is held back with its origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Held {
    pub(crate) part: Arc<str>,
    pub(crate) hash: u64,
    /// What there is to say of it.
    pub(crate) message: String,
}

/// The origins of which a peer has refused something of one type, and what is held back of them.
#[derive(Debug)]
pub(crate) struct Probation {
    most: u32,
    freed: u32,
    records: BTreeMap<Arc<str>, Record>,
    /// By resource and part.
    held: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Held>>,
}

impl Default for Probation {
    fn default() -> Self {
        Self { most: MOST, freed: FREED, records: BTreeMap::new(), held: BTreeMap::new() }
    }
}

impl Probation {
    /// Takes other numbers of refusals than usual: at first, and after a pause.
    #[cfg(test)]
    pub(crate) fn after(most: u32, freed: u32) -> Self {
        Self { most, freed, ..Self::default() }
    }

    /// Something of this origin was refused.
    pub(crate) fn refused(&mut self, origin: &Arc<str>, now: Instant) {
        self.records.retain(|_, record| {
            record.forget(now);
            record.refusals > 0 || record.held.is_some()
        });
        let new = || Record { refusals: 0, since: now, pauses: 0, held: None };
        let record = self.records.entry(Arc::clone(origin)).or_insert_with(new);
        record.refusals = (record.refusals + 1).min(self.most);
        if record.refusals == self.most && record.held.is_none() {
            let pause = PAUSE.saturating_mul(2_u32.saturating_pow(record.pauses)).min(LONGEST);
            record.pauses += 1;
            record.held = Some((pause, now + pause));
        }
    }

    /// Whether any origin is held back.
    pub(crate) fn holds_any(&self) -> bool {
        self.records.values().any(|record| record.held.is_some())
    }

    /// Whether something of any origin was refused lately.
    pub(crate) fn knows_any(&self) -> bool {
        !self.records.is_empty()
    }

    /// Whether something of this origin was refused lately.
    pub(crate) fn knows(&self, origin: &str) -> bool {
        self.records.contains_key(origin)
    }

    /// Whether an origin is held back.
    pub(crate) fn holds(&self, origin: &str) -> bool {
        self.pause(origin).is_some()
    }

    fn pause(&self, origin: &str) -> Option<Duration> {
        self.records.get(origin)?.held.map(|(pause, _)| pause)
    }

    /// When the next pause ends.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.records.values().filter_map(|record| record.held).map(|(_, end)| end).min()
    }

    /// Lets in whose pause is over. Returns the resources to look at again.
    pub(crate) fn let_in(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut any = false;
        for record in self.records.values_mut() {
            if record.held.is_some_and(|(_, end)| end <= now) {
                record.held = None;
                record.refusals = self.most - self.freed;
                record.since = now;
                any = true;
            }
        }
        if any { self.held.keys().cloned().collect() } else { Vec::new() }
    }

    /// Notes which parts of a resource are held back now. Returns those of which there is something new to tell, and the ids of
    /// those that are held back no longer.
    pub(crate) fn note<'p>(
        &mut self,
        resource: &Arc<str>,
        parts: impl Iterator<Item = &'p Arc<Part>>,
    ) -> (Vec<Held>, Vec<Arc<str>>) {
        let mut before = self.held.remove(resource).unwrap_or_default();
        let (mut held, mut news) = (BTreeMap::new(), Vec::new());
        for part in parts {
            let Some(origin) = &part.origin else { continue };
            let Some(pause) = self.pause(origin) else { continue };
            let message = message(origin, pause);
            let one = Held { part: Arc::clone(&part.id), hash: part.hash, message };
            let told = before.remove(&part.id);
            if told.is_none_or(|told| told.message != one.message) {
                news.push(one.clone());
            }
            held.insert(Arc::clone(&part.id), one);
        }
        if !held.is_empty() {
            self.held.insert(Arc::clone(resource), held);
        }
        (news, before.into_keys().collect())
    }

    /// Forgets what is held back of a resource. Returns the ids of the parts.
    pub(crate) fn forget(&mut self, resource: &str) -> Vec<Arc<str>> {
        self.held.remove(resource).map(|parts| parts.into_keys().collect()).unwrap_or_default()
    }

    /// Whether anything of a resource is held back.
    pub(crate) fn contains(&self, resource: &str) -> bool {
        self.held.contains_key(resource)
    }

    /// Whether this part of a resource is held back.
    pub(crate) fn contains_part(&self, resource: &str, part: &str) -> bool {
        self.held.get(resource).is_some_and(|parts| parts.contains_key(part))
    }

    /// All that is held back, by resource.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Held)> {
        self.held.iter().flat_map(|(resource, parts)| parts.values().map(move |held| (resource, held)))
    }
}

/// How what is said begins of a part that was not refused, but held back with others of its origin.
pub const NOT_TRIED: &str = "not tried yet";

/// It says nothing that changes while the pause lasts: else there would be something new to tell all the time.
fn message(origin: &str, pause: Duration) -> String {
    let seconds = pause.as_secs();
    format!(
        "{NOT_TRIED}: so many changes of \"{origin}\" were refused that no more are sent for {seconds} s; then this one is"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: &str, origin: &str) -> Arc<Part> {
        Arc::new(Part::new(id, "x").of_origin(Some(&origin.into())))
    }

    fn refuse(probation: &mut Probation, times: u32, now: Instant) {
        (0..times).for_each(|_| probation.refused(&"bad".into(), now));
    }

    #[test]
    fn pauses_double_and_are_forgotten() {
        let (mut probation, mut now) = (Probation::default(), Instant::now());
        refuse(&mut probation, MOST - 1, now);
        assert!(!probation.holds_any());
        let mut allowed = 1;
        for pause in [10, 20, 40, 80, 160, 320, 320] {
            refuse(&mut probation, allowed - 1, now);
            assert!(!probation.holds("bad"), "before the pause of {pause} s");
            refuse(&mut probation, 1, now);
            assert!(probation.holds("bad") && !probation.holds("good"));
            assert_eq!(probation.next_end(), Some(now + Duration::from_secs(pause)));
            probation.let_in(now + Duration::from_secs(pause - 1));
            assert!(probation.holds("bad"));
            now += Duration::from_secs(pause);
            probation.let_in(now);
            assert!(!probation.holds_any());
            allowed = FREED;
        }
        // Not tried for a while: one more is allowed for each ten seconds, and in the end everything is as it was.
        now += FORGETTING * 3;
        refuse(&mut probation, allowed + 2, now);
        assert!(!probation.holds_any());
        now += FORGETTING * MOST;
        refuse(&mut probation, MOST, now);
        assert_eq!(probation.next_end(), Some(now + PAUSE));
        now += LONGEST + FORGETTING * MOST;
        probation.let_in(now);
        now += FORGETTING * MOST;
        probation.refused(&"other".into(), now);
        assert_eq!(probation.records.len(), 1, "nothing is left of it");
    }

    #[test]
    fn what_is_held_is_told_once() {
        let (mut probation, now) = (Probation::after(2, 1), Instant::now());
        let (name, parts) = (Arc::from("r"), [part("a", "bad"), part("b", "good")]);
        refuse(&mut probation, 2, now);
        let (news, gone) = probation.note(&name, parts.iter());
        assert_eq!((news.len(), &*news[0].part, gone.len()), (1, "a", 0));
        assert!(
            news[0].message.contains("\"bad\"") && news[0].message.contains("10 s"),
            "{}",
            news[0].message
        );
        assert_eq!(probation.note(&name, parts.iter()), (vec![], vec![]));
        assert!(probation.contains("r") && probation.contains_part("r", "a"));
        assert_eq!(probation.let_in(now + PAUSE), [Arc::clone(&name)]);
        assert_eq!(probation.note(&name, parts.iter()), (vec![], vec!["a".into()]));
        assert!(!probation.contains("r"));
    }
}
