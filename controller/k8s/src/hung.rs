//! Requests that hang are ended, counted, and fail, so that whoever made them tries again.
//!
//! A connection can die without a sign: a firewall or a balancer forgets it, the API server's machine freezes. TCP notices after minutes or,
//! where something between acknowledges, never. kube speaks HTTP/1.1, which has no pings; HTTP/2 has them, but hyper opens one connection
//! for all, and an API server takes no more than a hundred or so watches on it. So what is measured is what matters: whether an answer comes, and
//! whether it goes on. The API server ends each watch after [`WATCH_SECONDS`] and sends a bookmark before, so a healthy one is never silent for longer,
//! and the next one goes on where it ended: nothing is listed again.
//!
//! A watch that begins with all objects (a streamed list) is given more time, as it would begin again with nothing. After the list it has no reason to
//! say anything: it ends once it is silent, without being counted, and the next watch goes on from there.
//!
//! Where one connection died, others did. The first request that hangs therefore takes the idle connections out of use with it: what comes
//! after it connects anew, and does not hang once more on a connection that was waiting to be used again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::{Method, Request, Response, Uri};
use kube::client::Body;
use kube::{Client, Config};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// How long one watch request lasts: a few more requests than with a minute, which is nothing to an API server.
pub(crate) const WATCH_SECONDS: u32 = 20;

/// How long a watch may last that begins with all objects: they take their time where there are many of them and little else.
const STREAM_SECONDS: u32 = 300;

/// How long nothing may come of an answer, or of the answer to a request that changes nothing. Longer than a watch lasts and than the API
/// server lets a request wait for its turn (15 s), shorter than kube-runtime waits before it begins the watch again without a word (25 s).
const SILENCE: Duration = Duration::from_secs(23);

/// How long the answer to a change may take: webhooks that do not answer are waited for by the API server, each for ten seconds.
const CHANGE: Duration = Duration::from_secs(30);

/// When an answer has to be complete: the API server's own limit for everything but watches.
const WHOLE: Duration = Duration::from_mins(1);

/// Whoever waited this long for an answer and then dropped the request has a limit shorter than ours, as the leader election does.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// How long connecting may take, TLS included.
const CONNECT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

/// Counts the requests to the API server that were ended because they hung. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct HungRequests(Family<PhaseLabel, Counter>);

impl HungRequests {
    /// Registers the metric `kubernetes_hung_requests_total`, with the registry's prefix.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests to the API server that were ended because nothing came: no answer, or no more of it (a watch, mostly)";
        registry.register("kubernetes_hung_requests", help, self.0.clone());
    }

    /// All that were counted.
    #[cfg(test)]
    fn sum(&self) -> u64 {
        [Hung::Answer, Hung::Rest].iter().map(|hung| self.0.get_or_create(&hung.label()).get()).sum()
    }
}

/// Why a request was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum Hung {
    #[error("the API server did not answer in time: the connection is given up")]
    Answer,
    #[error("the API server fell silent: the connection is given up")]
    Rest,
}

impl Hung {
    fn label(self) -> PhaseLabel {
        PhaseLabel {
            phase: match self {
                Self::Answer => "answer",
                Self::Rest => "rest",
            },
        }
    }
}

/// A client whose requests do not hang. Fails where kube cannot make one.
pub(crate) fn client(mut config: Config, hung: &HungRequests) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(CONNECT);
    let client = Client::try_from(config.clone())?;
    let valid_until = *client.valid_until();
    let namespace = config.default_namespace.clone();
    let pool = Mutex::new(Pool { generation: 0, client: Some(client) });
    let transport = Arc::new(Transport { config, hung: hung.clone(), pool });
    let service = tower::service_fn(move |request| Arc::clone(&transport).send(request));
    Ok(Client::new(service, namespace).with_valid_until(valid_until))
}

/// Sends requests to the API server, and watches over their answers.
struct Transport {
    config: Config,
    hung: HungRequests,
    pool: Mutex<Pool>,
}

/// Connections that are used again: those of one client, which is made when it is needed.
struct Pool {
    generation: u64,
    client: Option<Client>,
}

impl Transport {
    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections that a request is to choose from, and their generation.
    fn pooled(&self) -> Result<(u64, Client), kube::Error> {
        let mut pool = self.lock();
        let client = match pool.client.take() {
            Some(client) => client,
            None => Client::try_from(self.config.clone())?,
        };
        pool.client = Some(client.clone());
        Ok((pool.generation, client))
    }

    async fn send(self: Arc<Self>, mut request: Request<Body>) -> Result<Response<Answer>, kube::Error> {
        let (generation, client) = self.pooled()?;
        let kind = RequestKind::of(&request);
        if kind == RequestKind::StreamedList {
            lengthen(request.uri_mut());
        }
        let complete_by = (kind == RequestKind::Single).then(|| Instant::now() + WHOLE);
        let limit = if request.method() == Method::GET { SILENCE } else { CHANGE };
        let mut unanswered =
            Unanswered { transport: &self, generation, since: Instant::now(), answered: false };
        let answered = timeout(limit, client.send(request)).await;
        unanswered.answered = answered.is_ok();
        drop(unanswered);
        let response = answered.map_err(|_| kube::Error::Service(Hung::Answer.into()))??;
        Ok(response.map(|body| Answer { body, kind, complete_by, silent: None, transport: self, generation }))
    }

    /// Counts what hung, and leaves the connections that it had to choose from.
    fn give_up(&self, generation: u64, why: Hung) {
        self.hung.0.get_or_create(&why.label()).inc();
        self.retire(generation);
    }

    /// The next request connects anew.
    fn retire(&self, generation: u64) {
        let mut pool = self.lock();
        if pool.generation == generation {
            *pool = Pool { generation: generation + 1, client: None };
        }
    }
}

/// What a request asks for, which says when its answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestKind {
    /// Anything that is not a watch.
    Single,
    /// Changes from a resource version on.
    Watch,
    /// A watch that begins with all objects.
    StreamedList,
}

impl RequestKind {
    fn of(request: &Request<Body>) -> Self {
        let has =
            |wanted| request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == wanted));
        match (has("watch=true"), has("sendInitialEvents=true")) {
            (false, _) => Self::Single,
            (true, false) => Self::Watch,
            (true, true) => Self::StreamedList,
        }
    }
}

/// Asks for the time that a streamed list may need. What cannot be asked so is asked as it was.
fn lengthen(uri: &mut Uri) {
    let (usual, longer) =
        (format!("timeoutSeconds={WATCH_SECONDS}"), format!("timeoutSeconds={STREAM_SECONDS}"));
    if let Ok(longer) = uri.to_string().replace(&usual, &longer).parse() {
        *uri = longer;
    }
}

/// A request without an answer. It hung if it is dropped so, be it by us or by somebody whose patience is shorter.
struct Unanswered<'a> {
    transport: &'a Transport,
    generation: u64,
    since: Instant,
    answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.answered && self.since.elapsed() >= IMPATIENCE {
            self.transport.give_up(self.generation, Hung::Answer);
        }
    }
}

/// The body of an answer: an error once nothing comes any more.
struct Answer {
    body: Body,
    kind: RequestKind,
    /// When it has to be complete, if it ever is.
    complete_by: Option<Instant>,
    /// Runs while somebody waits: what is not asked for cannot be late.
    silent: Option<Pin<Box<Sleep>>>,
    transport: Arc<Transport>,
    generation: u64,
}

impl HttpBody for Answer {
    type Data = <Body as HttpBody>::Data;
    type Error = kube::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, kube::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.silent = None;
            return Poll::Ready(frame);
        }
        let complete_by = this.complete_by;
        let silent = this.silent.get_or_insert_with(|| {
            let silence_ends = Instant::now() + SILENCE;
            Box::pin(sleep_until(complete_by.map_or(silence_ends, |limit| limit.min(silence_ends))))
        });
        ready!(silent.as_mut().poll(context));
        // Closes the connection, and ends the body.
        this.body = Body::empty();
        if this.kind == RequestKind::StreamedList {
            // Its server has no reason to say anything after the list, so this may be nothing but a quiet cluster. The watch that goes on from
            // here must not depend on which of the two it is.
            this.transport.retire(this.generation);
            return Poll::Ready(None);
        }
        this.transport.give_up(this.generation, Hung::Rest);
        Poll::Ready(Some(Err(kube::Error::Service(Hung::Rest.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use hyper::body::Bytes;
    use kube::core::DynamicObject;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server whose connections can fall silent.
    struct Server {
        config: Config,
        connections: Arc<AtomicUsize>,
        /// Those before this one say no more than `last`, and stay open.
        silent: Arc<AtomicUsize>,
    }

    impl Server {
        async fn start(answer: &'static str, last: &'static str) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let config = Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
            let (connections, silent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (counting, silenced) = (Arc::clone(&connections), Arc::clone(&silent));
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let own = counting.fetch_add(1, Ordering::SeqCst);
                    let silenced = Arc::clone(&silenced);
                    tokio::spawn(async move {
                        let mut request = [0; 4096];
                        while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                            let said = if own < silenced.load(Ordering::SeqCst) { last } else { answer };
                            let _ = stream.write_all(said.as_bytes()).await;
                        }
                    });
                }
            });
            Self { config, connections, silent }
        }

        fn silence(&self) {
            self.silent.store(self.connections.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    fn get(path: &str) -> Request<Vec<u8>> {
        Request::get(path).body(Vec::new()).unwrap()
    }

    const VERSION: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    const BEGINS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{";
    const STREAM: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

    #[tokio::test]
    async fn what_hangs_ends_and_takes_the_idle_connections_with_it() {
        for last in ["", BEGINS] {
            let server = Server::start(VERSION, last).await;
            let hung = HungRequests::default();
            let client = client(server.config.clone(), &hung).unwrap();
            let ask = || client.request_text(get("/version"));
            for answer in [tokio::join!(ask(), ask(), ask())].map(|(a, b, c)| [a, b, c]).into_iter().flatten()
            {
                assert_eq!(answer.unwrap(), "{}");
            }
            server.silence();
            // Only here does time go on by itself, as nothing else does.
            tokio::time::pause();
            let error = ask().await.unwrap_err();
            tokio::time::resume();
            assert!(crate::client::innermost(&error).contains("given up"), "{error:?}");
            assert_eq!(hung.sum(), 1);
            assert_eq!(ask().await.unwrap(), "{}");
            assert_eq!(hung.sum(), 1);
        }
    }

    #[tokio::test]
    async fn who_is_less_patient_has_new_connections_as_well() {
        let server = Server::start(VERSION, "").await;
        let hung = HungRequests::default();
        let client = client(server.config.clone(), &hung).unwrap();
        let ask = || client.request_text(get("/version"));
        for answer in <[_; 2]>::from(tokio::join!(ask(), ask())) {
            assert_eq!(answer.unwrap(), "{}");
        }
        // What is not wanted any more did not hang.
        assert!(ask().now_or_never().is_none());
        assert_eq!(hung.sum(), 0);
        server.silence();
        tokio::time::pause();
        assert!(timeout(2 * IMPATIENCE, ask()).await.is_err());
        tokio::time::resume();
        assert_eq!(ask().await.unwrap(), "{}");
        assert_eq!(hung.sum(), 1);
    }

    /// A transport whose requests are answered in this process, where time that is paused goes on without surprises.
    fn transport<B>(answer: impl Fn(&Request<Body>) -> B + Send + 'static) -> Arc<Transport>
    where
        B: HttpBody<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let service =
            tower::service_fn(move |request| ready(Ok::<_, Infallible>(Response::new(answer(&request)))));
        let pool = Pool { generation: 0, client: Some(Client::new(service, "default")) };
        let config = Config::new("http://127.0.0.1:9".parse().unwrap());
        Arc::new(Transport { config, hung: HungRequests::default(), pool: Mutex::new(pool) })
    }

    /// Says something six times, before it would be too late, and nothing ever after.
    fn slow(_: &Request<Body>) -> impl HttpBody<Data = Bytes, Error = Infallible> + use<> {
        let words = futures::stream::iter(0..6).then(|_| async {
            tokio::time::sleep(SILENCE / 4 * 3).await;
            Ok(Frame::data("word".into()))
        });
        StreamBody::new(words.chain(futures::stream::pending()))
    }

    async fn answered(transport: &Arc<Transport>, path: &str) -> Result<String, kube::Error> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let body = Arc::clone(transport).send(request).await?.into_body();
        Ok(String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_streamed_list_may_take_any_time_and_then_says_nothing() {
        let transport = transport(slow);
        let said = answered(&transport, "/api/v1/pods?watch=true&sendInitialEvents=true").await.unwrap();
        assert_eq!(said, "word".repeat(6));
        // Quiet or dead: nobody can tell, so it does not count, and nothing depends on it.
        assert_eq!((transport.hung.sum(), transport.lock().generation), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_of_others_counts_and_an_answer_has_its_end() {
        for path in ["/api/v1/pods?watch=true", "/api/v1/pods"] {
            let transport = transport(slow);
            let started = Instant::now();
            answered(&transport, path).await.unwrap_err();
            assert_eq!((transport.hung.sum(), transport.lock().generation), (1, 1), "{path}");
            assert_eq!(started.elapsed() <= WHOLE, !path.contains("watch"), "{path}");
        }
    }

    #[tokio::test]
    async fn streamed_lists_ask_for_more_time() {
        let transport = transport(|request| Full::from(request.uri().to_string()));
        for (path, asked) in [
            ("/api/v1/pods?watch=true&timeoutSeconds=20", "timeoutSeconds=20"),
            ("/api/v1/pods?watch=true&timeoutSeconds=20&sendInitialEvents=true", "timeoutSeconds=300&"),
        ] {
            let said = answered(&transport, path).await.unwrap();
            assert!(said.contains(asked), "{said}");
        }
    }

    #[tokio::test]
    async fn a_watch_without_a_word_is_an_error_and_then_over() {
        let server = Server::start(STREAM, "").await;
        let hung = HungRequests::default();
        let client = client(server.config.clone(), &hung).unwrap();
        let events = client.request_events::<DynamicObject>(get("/api/v1/pods?&watch=true")).await.unwrap();
        let mut events = std::pin::pin!(events.into_stream());
        tokio::time::pause();
        assert!(matches!(events.next().await, Some(Err(_))));
        assert!(events.next().await.is_none());
        assert_eq!(hung.sum(), 1);
    }

    #[test]
    fn the_limits_fit_each_other() {
        let watch = Duration::from_secs(WATCH_SECONDS.into());
        assert!(
            watch < SILENCE && SILENCE < watch + Duration::from_secs(5),
            "kube-runtime adds five seconds"
        );
        assert!(CONNECT < SILENCE && SILENCE < CHANGE && CHANGE < WHOLE);
    }
}
