//! What is measured, one phase after another.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use contour_e2e::wait::eventually;
use contour_resource::ResourceType;

use super::fleet::{Faults, Fleet, Times, Told};
use super::observe::{Health, Observer, forget_peak, memory, open_files, processor_time};
use super::play::Start;
use super::requests::{Learned, Plan};
use super::slow::Pace;
use super::world::World;

use ResourceType::{Cluster, Endpoints, Route};

/// How long a phase may take.
const DEADLINE: Duration = Duration::from_mins(3);

/// How fast slow readers read.
const SLOW: Pace = Pace::Limited(64 * 1024);

/// A phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Phase {
    /// All connect at once and know nothing
    Cold,
    /// A host more, told to all
    Host,
    /// Another endpoint, told to all
    Endpoint,
    /// All leave at once, and are back at once with what they know
    Reconnect,
    /// The controller restarts; all are back as soon as it listens, with what they know
    Restart,
    /// All connect at once while some read slowly or not at all
    Slow,
    /// All leave
    Leave,
}

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Played Envoys.
    pub streams: usize,
    /// Hosts.
    pub hosts: usize,
    /// Changes of each kind.
    pub changes: usize,
    /// Envoys that never read, besides.
    pub silent: usize,
    /// How long to wait before memory is looked at, for what is free to be given back.
    pub rest: Duration,
}

/// Figures of a phase.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub phase: Phase,
    /// How many Envoys it is about.
    pub streams: usize,
    /// From its beginning until half of them, and all of them, had and had accepted everything.
    pub times: Times,
    /// How many changes it is about, where it is about changes; `times` are those of the slowest.
    pub changes: Option<u32>,
    /// The times of the median of them.
    pub usual: Option<Times>,
    /// Processor time of the controller.
    pub work: Duration,
    /// Processor time of the played Envoys.
    pub own_work: Duration,
    /// Resident bytes of the controller at the peak, and after.
    pub memory: (u64, u64),
    /// Health of the controller.
    pub health: Health,
    /// What should not happen to Envoys, and did.
    pub faults: Faults,
    /// What all Envoys together were told.
    pub told: Told,
    /// What else there is to say.
    pub note: String,
}

impl Row {
    /// How many times it was done.
    pub fn changes(&self) -> u32 {
        self.changes.unwrap_or(1)
    }
}

/// All that was measured.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The phases.
    pub rows: Vec<Row>,
    /// Resident bytes of the controller with one stream.
    pub alone: u64,
    /// The same with all streams, after they were told everything and changes.
    pub together: Option<u64>,
    /// Open files of the controller with all streams.
    pub open_files: usize,
}

/// An installation, and the Envoys that are played.
pub struct Bench {
    world: World,
    observer: Observer,
    size: Size,
    /// The one that decodes everything. It leaves when the others have learned.
    first: Option<Fleet>,
    learned: Arc<Mutex<Learned>>,
    fleet: Option<Fleet>,
    hosts: usize,
    figures: Figures,
}

/// Where a phase began.
struct Begun {
    at: Instant,
    work: Duration,
    own_work: Duration,
}

impl Bench {
    /// Starts the installation and the first Envoy. `command` is what runs `contour`.
    pub async fn start(command: &[OsString], size: Size) -> Result<Self> {
        let world = World::start(command, size.hosts).await?;
        let learned = Arc::new(Mutex::new(Learned::default()));
        let first = Fleet::connect(&world.access()?, 1, &Start::Learning(Arc::clone(&learned)), Pace::Free);
        let observer = Observer::start(world.http());
        let (hosts, figures) = (size.hosts, Figures::default());
        let mut bench =
            Self { world, observer, size, first: Some(first), learned, fleet: None, hosts, figures };
        bench.until_learned().await?;
        tokio::time::sleep(size.rest).await;
        bench.figures.alone = memory(bench.world.pid())?.0;
        Ok(bench)
    }

    async fn until_learned(&self) -> Result<()> {
        eventually(DEADLINE, || async {
            let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
            let counts = ResourceType::ALL.map(|kind| learned.count(kind));
            let (clusters, endpoints) = (counts[Cluster as usize], counts[Endpoints as usize]);
            let whole = learned.is_whole() && clusters == self.hosts && endpoints == self.hosts;
            ensure!(whole && counts[Route as usize] > 0, "the first Envoy has {counts:?} of each type");
            Ok(())
        })
        .await
        .with_context(|| format!("the controller's log ends:\n{}", self.world.log_tail()))?;
        self.world.settle().await
    }

    fn plan(&self) -> Arc<Plan> {
        Arc::new(self.learned.lock().unwrap_or_else(PoisonError::into_inner).plan())
    }

    /// Measures a phase.
    pub async fn run(&mut self, phase: Phase) -> Result<()> {
        let row = match phase {
            Phase::Cold => self.cold().await,
            Phase::Host | Phase::Endpoint => self.changes(phase).await,
            Phase::Reconnect => self.reconnect().await,
            Phase::Restart => self.restart().await,
            Phase::Slow => self.slow().await,
            Phase::Leave => self.leave().await,
        };
        let row = row.with_context(|| format!("the controller's log ends:\n{}", self.world.log_tail()))?;
        self.figures.rows.push(row);
        Ok(())
    }

    /// What was measured so far.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    fn begin(&self) -> Result<Begun> {
        let pid = self.world.pid();
        forget_peak(pid)?;
        self.observer.begin();
        let own = i32::try_from(std::process::id())?;
        Ok(Begun { at: Instant::now(), work: processor_time(pid)?, own_work: processor_time(own)? })
    }

    /// The figures of a phase about this fleet that has just ended.
    async fn end(&self, phase: Phase, begun: &Begun, fleet: &Fleet, times: Times, told: Told) -> Result<Row> {
        let own = i32::try_from(std::process::id())?;
        let (pid, own_work) = (self.world.pid(), processor_time(own)?.saturating_sub(begun.own_work));
        let work = processor_time(pid)?.saturating_sub(begun.work);
        let health = self.observer.seen();
        tokio::time::sleep(self.size.rest).await;
        let (after, peak) = memory(pid)?;
        let now = fleet.told();
        Ok(Row {
            phase,
            streams: fleet.len(),
            times,
            changes: None,
            usual: None,
            work,
            own_work,
            memory: (peak, after),
            health,
            faults: fleet.faults(),
            told: Told { resources: now.resources - told.resources, bytes: now.bytes - told.bytes },
            note: String::new(),
        })
    }

    fn connect(&self, count: usize, start: &Start, pace: Pace) -> Result<Fleet> {
        Ok(Fleet::connect(&self.world.access()?, count, start, pace))
    }

    /// All Envoys, connected if they are not.
    async fn everybody(&mut self) -> Result<Fleet> {
        if let Some(fleet) = self.fleet.take() {
            return Ok(fleet);
        }
        let fleet = self.connect(self.size.streams, &Start::Cold(self.plan()), Pace::Free)?;
        fleet.until_complete(Instant::now(), DEADLINE).await?;
        fleet.faults();
        Ok(fleet)
    }

    async fn cold(&mut self) -> Result<Row> {
        self.fleet = None;
        let start = Start::Cold(self.plan());
        let begun = self.begin()?;
        let fleet = self.connect(self.size.streams, &start, Pace::Free)?;
        let times = fleet.until_complete(begun.at, DEADLINE).await?;
        let row = self.end(Phase::Cold, &begun, &fleet, times, Told::default()).await?;
        self.figures.open_files = open_files(self.world.pid())?;
        self.figures.together = Some(row.memory.1);
        self.fleet = Some(fleet);
        Ok(row)
    }

    async fn changes(&mut self, phase: Phase) -> Result<Row> {
        let fleet = self.everybody().await?;
        let mut all = Vec::new();
        let told = fleet.told();
        let begun = self.begin()?;
        for i in 0..self.size.changes {
            if phase == Phase::Host {
                self.world.prepare(self.hosts).await?;
                fleet.expect(&[(Cluster, 1), (Endpoints, 1), (Route, 1)]);
            } else {
                fleet.expect(&[(Endpoints, 1)]);
            }
            let started = Instant::now();
            if phase == Phase::Host {
                self.world.add(self.hosts).await?;
                self.hosts += 1;
            } else {
                self.world.point(i * self.hosts / self.size.changes, 1 + i).await?;
            }
            all.push(fleet.until_complete(started, DEADLINE).await?);
            self.world.settle().await?;
        }
        self.until_learned().await?;
        all.sort_by_key(|times| times.last);
        let (usual, worst) = (all[all.len() / 2], all[all.len() - 1]);
        let row = self.end(phase, &begun, &fleet, worst, told).await?;
        self.fleet = Some(fleet);
        let changes = u32::try_from(all.len())?;
        let note = format!("{changes} changes, one after another; the figures are of one");
        Ok(Row { changes: Some(changes), usual: Some(usual), note, ..row })
    }

    /// All leave, and are back with what they know.
    async fn reconnect(&mut self) -> Result<Row> {
        let fleet = self.everybody().await?;
        let start = Start::Known(self.plan());
        let begun = self.begin()?;
        drop(fleet);
        let fleet = self.connect(self.size.streams, &start, Pace::Free)?;
        let times = fleet.until_complete(begun.at, DEADLINE).await?;
        let row = self.end(Phase::Reconnect, &begun, &fleet, times, Told::default()).await?;
        self.fleet = Some(fleet);
        Ok(row)
    }

    async fn restart(&mut self) -> Result<Row> {
        let fleet = self.everybody().await?;
        // It would be served, too, and has taught the others all it can.
        self.first = None;
        let start = Start::Known(self.plan());
        drop(fleet);
        self.observer.away(true);
        let opened = self.world.restart().await?;
        let begun = self.begin()?;
        self.observer.away(false);
        let fleet = self.connect(self.size.streams, &start, Pace::Free)?;
        let times = fleet.until_complete(begun.at, DEADLINE).await?;
        let row = self.end(Phase::Restart, &begun, &fleet, times, Told::default()).await?;
        self.world.until_back().await?;
        self.fleet = Some(fleet);
        let note = format!("it listens {:.1} s after its start; times are from there", opened.as_secs_f64());
        Ok(Row { note, ..row })
    }

    async fn slow(&mut self) -> Result<Row> {
        self.fleet = None;
        self.world.until_streams(self.first.iter().map(Fleet::len).sum()).await?;
        tokio::time::sleep(self.size.rest).await;
        let (cold, hasty) = (Start::Cold(self.plan()), Start::Hasty(self.plan()));
        let slow = self.size.streams / 10;
        let begun = self.begin()?;
        let silent = self.connect(self.size.silent, &hasty, Pace::Never)?;
        let slow = self.connect(slow, &cold, SLOW)?;
        let others = self.connect(self.size.streams - slow.len(), &cold, Pace::Free)?;
        let times = others.until_complete(begun.at, DEADLINE).await?;
        let row = self.end(Phase::Slow, &begun, &others, times, Told::default()).await?;
        let note = format!("{} besides read 64 KiB/s, {} nothing", slow.len(), silent.len());
        Ok(Row { note, ..row })
    }

    async fn leave(&mut self) -> Result<Row> {
        let fleet = self.everybody().await?;
        self.first = None;
        let begun = self.begin()?;
        drop(fleet);
        self.world.until_streams(0).await?;
        let last = begun.at.elapsed();
        let nobody = self.connect(0, &Start::Cold(self.plan()), Pace::Free)?;
        // Twice more than the others rest.
        tokio::time::sleep(self.size.rest * 2).await;
        let times = Times { median: last, last };
        let row = self.end(Phase::Leave, &begun, &nobody, times, Told::default()).await?;
        Ok(Row { streams: self.size.streams, ..row })
    }
}
