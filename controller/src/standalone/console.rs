//! The place where all news comes together: status files are written, and what changed is told.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use contour_files::{FileProblem, Report, StatusFiles};
use contour_graph::IngressNote;
use contour_graph::model::VirtualHost;
use contour_objects::NamespacedName;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::args::Output;
use super::line::{Line, Ports, Served};
use crate::engine::{News, Sink};

/// What arrives from other tasks.
#[derive(Debug)]
pub(super) enum Message {
    /// Of the engine.
    News(News),
    /// Of anything else.
    Line(Line),
    /// An installation starts, from the beginning, on these ports.
    Begins(Ports),
}

/// The way to the console. Never blocks: what is told is small next to what it is about.
#[derive(Clone, Debug)]
pub(super) struct Teller(mpsc::UnboundedSender<Message>);

impl Teller {
    /// The way to a console, and its end.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// An installation starts: all it tells is new.
    pub(super) fn begins(&self, ports: Ports) {
        let _ = self.0.send(Message::Begins(ports));
    }

    /// Tells a line. When the console is gone, the process is ending.
    pub(super) fn line(&self, line: Line) {
        let _ = self.0.send(Message::Line(line));
    }
}

impl Sink for Teller {
    fn tell(&self, news: News) {
        let _ = self.0.send(Message::News(news));
    }
}

/// Knows what was told, and tells only what differs. Who reads a line finds what it says in the files already.
pub(super) struct Console {
    output: Output,
    ports: Ports,
    files: StatusFiles,
    report: Option<Report>,
    hosts: BTreeMap<Arc<str>, Line>,
    notes: BTreeMap<Arc<str>, Vec<IngressNote>>,
    statuses: BTreeMap<NamespacedName, Line>,
}

impl Console {
    /// Tells to standard output, and writes status files.
    pub(super) fn new(output: Output, files: StatusFiles) -> Self {
        Self {
            output,
            ports: Ports { http: 0, https: 0 },
            files,
            report: None,
            hosts: BTreeMap::new(),
            notes: BTreeMap::new(),
            statuses: BTreeMap::new(),
        }
    }

    /// Runs until `token` is cancelled, and tells what is waiting then.
    pub(super) async fn run(
        mut self,
        mut messages: mpsc::UnboundedReceiver<Message>,
        mut reports: watch::Receiver<Report>,
        token: CancellationToken,
    ) {
        loop {
            tokio::select! {
                biased;
                Some(message) = messages.recv() => self.take(message),
                Ok(()) = reports.changed() => {
                    let report = reports.borrow_and_update().clone();
                    self.report(report);
                }
                () = token.cancelled() => return,
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Line(line) => self.write(&line),
            Message::News(news) => self.news(news),
            Message::Begins(ports) => {
                self.ports = ports;
                self.hosts.clear();
                self.notes.clear();
                self.statuses.clear();
            }
        }
    }

    fn news(&mut self, news: News) {
        complain(self.files.set(&news.statuses, &now()), self.files.directory());
        for status in &news.statuses {
            let line = Line::status(status);
            if self.statuses.get(&status.object) != Some(&line) {
                self.write(&line);
                self.statuses.insert(status.object.clone(), line);
            }
        }
        for object in &news.gone {
            complain(self.files.remove(object), &self.files.path(object));
            if self.statuses.remove(object).is_some() {
                self.write(&Line::gone(object));
            }
        }
        let mut notes: BTreeMap<Arc<str>, Vec<IngressNote>> = BTreeMap::new();
        for note in news.notes {
            notes.entry(Arc::clone(&note.host)).or_default().push(note);
        }
        for host in news.quiet {
            notes.entry(host).or_default();
        }
        for (name, host) in news.hosts {
            notes.entry(Arc::clone(&name)).or_default();
            self.host(name, host.as_deref());
        }
        for host in news.noted {
            notes.entry(host).or_default();
        }
        let told: Vec<Line> = notes.into_iter().flat_map(|(host, notes)| self.notes(host, notes)).collect();
        self.write_problems();
        for line in &told {
            self.write(line);
        }
    }

    fn host(&mut self, name: Arc<str>, host: Option<&VirtualHost>) {
        let state = |object: &NamespacedName| match self.statuses.get(object) {
            Some(Line::Status(status)) => Some(status.current),
            _ => None,
        };
        let line = host.map(|host| Line::Host(Served::of(host, self.ports, state)));
        match line {
            Some(line) if self.hosts.get(&name) != Some(&line) => {
                self.write(&line);
                self.hosts.insert(name, line);
            }
            None if self.hosts.remove(&name).is_some() => {
                self.write(&Line::HostGone { host: name.to_string() });
            }
            _ => {}
        }
    }

    /// Takes the notes of a host, and returns what is new of them.
    fn notes(&mut self, host: Arc<str>, notes: Vec<IngressNote>) -> Vec<Line> {
        let before = self.notes.remove(&host).unwrap_or_default();
        let new = notes.iter().filter(|note| !before.contains(note)).map(Line::ingress).collect();
        if !notes.is_empty() {
            self.notes.insert(host, notes);
        }
        new
    }

    fn report(&mut self, report: Report) {
        let before = self.report.take().unwrap_or_else(|| {
            complain(self.files.retain(&report.proxies), self.files.directory());
            Report::default()
        });
        for notes in self.notes.values_mut() {
            notes.retain(|note| report.ingresses.contains(&note.ingress));
        }
        self.report = Some(report);
        self.write_problems();
        for problem in before.problems.iter().filter(|problem| !self.problems().contains(problem)) {
            self.write(&Line::Solved(FileProblem { kept: false, ..problem.clone() }));
        }
        for problem in self.problems().iter().filter(|problem| !before.problems.contains(problem)) {
            self.write(&Line::Problem(problem.clone()));
        }
    }

    fn problems(&self) -> &[FileProblem] {
        self.report.as_ref().map(|report| report.problems.as_slice()).unwrap_or_default()
    }

    fn write_problems(&self) {
        let notes: Vec<_> = self.notes.values().flatten().collect();
        complain(self.files.problems(self.problems(), &notes), self.files.directory());
    }

    /// A reader that went away is no reason to stop serving.
    fn write(&self, line: &Line) {
        let time = now();
        let text = match self.output {
            Output::Text => format!("{time} {line}"),
            Output::Json => serde_json::to_string(&Timed { time, line }).unwrap_or_default(),
        };
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }
}

/// The time as Kubernetes writes it: RFC 3339, whole seconds.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A line as JSON.
#[derive(Serialize)]
struct Timed<'a> {
    time: String,
    #[serde(flatten)]
    line: &'a Line,
}

/// Statuses that cannot be written must not end what serves.
fn complain<T>(written: std::io::Result<T>, path: &Path) {
    if let Err(error) = written {
        tracing::error!(%error, path = %path.display(), "cannot write statuses");
    }
}
