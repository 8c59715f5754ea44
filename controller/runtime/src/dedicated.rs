//! A thread for what must not wait for anything else.

use std::future::{Future, pending};
use std::io;
use std::panic::resume_unwind;

use tokio::runtime::{Builder, Runtime};

/// A runtime with one thread of its own. What runs here waits neither for the process' other tasks, whatever those do with their threads,
/// nor do they wait for it: the operating system shares the processors fairly between threads.
#[derive(Debug)]
pub struct Dedicated {
    runtime: Option<Runtime>,
}

impl Dedicated {
    /// Starts the thread.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs a future there. The result, or the panic, comes back here. Dropping what is returned does not stop it.
    pub fn run<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + use<F>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let running = self.runtime.as_ref().map(|runtime| runtime.spawn(future));
        async move {
            match running {
                Some(running) => match running.await {
                    Ok(output) => output,
                    Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                    // The thread was stopped: the process is ending.
                    Err(_) => pending().await,
                },
                None => pending().await,
            }
        }
    }
}

impl Drop for Dedicated {
    /// Stops the thread without waiting for it: this may be done by a task.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use prometheus_client::registry::Registry;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        AdminAddresses, AdminServers, HealthCheck, Listen, Readiness, health_router, metrics_router,
    };

    /// The only thread of the process' own runtime does the asking, and nothing else: whatever answers has a thread of its own.
    #[tokio::test(flavor = "current_thread")]
    async fn health_answers_while_the_process_is_busy() {
        let control = Dedicated::start("control").unwrap();
        let any = Listen::new("127.0.0.1", 0);
        let addresses = AdminAddresses { metrics: any.clone(), health: any, debug: None };
        let servers = control.run(async move { AdminServers::bind(&addresses).await }).await.unwrap();
        let address = servers.health_address().unwrap();
        let token = CancellationToken::new();
        let check = HealthCheck::new(|| async { Ok::<(), String>(()) });
        let health = health_router(Readiness::new(), check);
        let metrics = metrics_router(Registry::default());
        let serving = control.run(servers.serve(metrics, health, axum::Router::new(), token.clone()));
        let mut connection = TcpStream::connect(address).unwrap();
        connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        token.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_comes_back() {
        let dedicated = Dedicated::start("fails").unwrap();
        let running = dedicated.run(async { assert!(std::hint::black_box(false), "on purpose") });
        let error = tokio::spawn(running).await.unwrap_err();
        assert!(error.is_panic());
    }
}
