//! Asking Envoy to let its open requests end.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// How often Envoy is asked for its open requests.
const PERIOD: Duration = Duration::from_millis(50);

/// Tells Envoy to take no new work and waits until no request is open, for as long as `patience` lasts. An Envoy that does not
/// answer has nothing to wait for.
pub(super) async fn drain(socket: &Path, patience: Duration) {
    let drained = async {
        ask(socket, "POST", "/healthcheck/fail").await?;
        ask(socket, "POST", "/drain_listeners?graceful&skip_exit").await?;
        while open_requests(&ask(socket, "GET", "/stats?filter=downstream_rq_active").await?) > 0 {
            sleep(PERIOD).await;
        }
        io::Result::Ok(())
    };
    match timeout(patience, drained).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(%error, "Envoy does not answer: it is stopped without waiting for requests");
        }
        Err(_) => tracing::warn!("requests are still open after {patience:?}: they are cut off"),
    }
}

/// Open requests of the hosts, by the text of Envoy's statistics.
fn open_requests(stats: &str) -> u64 {
    let ours = |name: &str| {
        name == "http.ingress_http.downstream_rq_active" || name == "http.ingress_https.downstream_rq_active"
    };
    let values = stats.lines().filter_map(|line| line.split_once(": "));
    values.filter(|(name, _)| ours(name)).filter_map(|(_, value)| value.trim().parse::<u64>().ok()).sum()
}

/// One request to Envoy's administration; the answer as it comes, head and all.
async fn ask(socket: &Path, method: &str, path: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_of_hosts_count() {
        let stats = "HTTP/1.1 200 OK\r\n\r\nhttp.admin.downstream_rq_active: 1\nhttp.ingress_http.downstream_rq_active: 2\r\nhttp.ingress_https.downstream_rq_active: 3\n";
        assert_eq!(open_requests(stats), 5);
    }
}
