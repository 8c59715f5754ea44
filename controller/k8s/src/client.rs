//! The Kubernetes client.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::{HeaderValue, USER_AGENT};
use kube::Client;
use kube::config::{
    Config, InClusterError, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError,
};
use thiserror::Error;
use tokio::time::timeout;

use crate::hung::{self, HungRequests};

/// How long the API server has to answer a health check.
const HEALTH_LIMIT: Duration = Duration::from_secs(3);

/// Where the address of the API server and our credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientSource {
    /// `--incluster`: the pod's service account.
    InCluster,
    /// `--kubeconfig FILE`: the file's current context.
    Kubeconfig(PathBuf),
    /// Neither: `$KUBECONFIG`, else `~/.kube/config`, else the pod's service account.
    Inferred,
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No usable service account.
    #[error(
        "--incluster: this pod's service account cannot be used; run in a pod with automountServiceAccountToken, or pass --kubeconfig FILE"
    )]
    InCluster(#[source] InClusterError),
    /// The file cannot be read or is incomplete.
    #[error(
        "kubeconfig {path:?} cannot be used; pass another with --kubeconfig FILE, or --incluster in a pod"
    )]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// Nothing was found where clients usually look.
    #[error(
        "neither $KUBECONFIG, ~/.kube/config nor a pod's service account can be used; pass --kubeconfig FILE, or --incluster in a pod"
    )]
    Inferred(#[source] Box<InferConfigError>),
    /// The configuration was read, but its certificates or credentials cannot be used.
    #[error("the client for {url} cannot be built; check the certificates and credentials of the kubeconfig")]
    Build {
        /// Address of the API server.
        url: String,
        /// What is wrong.
        source: Box<kube::Error>,
    },
}

/// A client for the API server, the one way to get one. Makes no request yet. It does not limit its own rate: the server's priority and
/// fairness does. A request or a watch that hangs is counted in `hung` and fails within half a minute.
///
/// Fails if the configuration cannot be read or used.
pub async fn connect(source: &ClientSource, hung: &HungRequests) -> Result<Client, ClientError> {
    let mut config = match source {
        ClientSource::InCluster => Config::incluster().map_err(ClientError::InCluster)?,
        ClientSource::Kubeconfig(path) => {
            from_file(path).await.map_err(|source| ClientError::Kubeconfig { path: path.clone(), source })?
        }
        ClientSource::Inferred => Config::infer().await.map_err(|e| ClientError::Inferred(Box::new(e)))?,
    };
    config.headers.push((USER_AGENT, HeaderValue::from_static("contour")));
    let url = config.cluster_url.to_string();
    hung::client(config, hung).map_err(|e| ClientError::Build { url, source: Box::new(e) })
}

async fn from_file(path: &PathBuf) -> Result<Config, Box<KubeconfigError>> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// Why the API server is not healthy, as seen from here.
#[derive(Debug, Error)]
pub enum HealthError {
    /// It did not answer in time.
    #[error("the Kubernetes API server did not answer within {HEALTH_LIMIT:?}")]
    Late,
    /// It could not be asked, or refused.
    #[error("the Kubernetes API server cannot be asked for its version: {0}")]
    Failed(String),
}

/// Asks the API server for its version, as Contour's `/healthz` does. Fails if there is no answer within three seconds.
pub async fn api_health(client: Client) -> Result<(), HealthError> {
    match timeout(HEALTH_LIMIT, client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(HealthError::Failed(innermost(&error))),
        Err(_) => Err(HealthError::Late),
    }
}

/// The error at the end of the chain: what really happened, without the layers it passed through.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn says_who_asks_and_why_the_server_is_not_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let answer = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(
            file,
            "{{current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
             clusters: [{{name: c, cluster: {{server: \"{server}\"}}}}], users: [{{name: u, user: {{}}}}]}}"
        )
        .unwrap();
        let client = connect(&ClientSource::Kubeconfig(file.path().to_owned()), &HungRequests::default())
            .await
            .unwrap();
        let error = api_health(client).await.unwrap_err().to_string();
        assert!(error.starts_with("the Kubernetes API server cannot be asked for its version: "), "{error}");
        let request = answering.await.unwrap();
        assert!(
            request.starts_with("GET /version ") && request.contains("user-agent: contour\r\n"),
            "{request}"
        );
    }

    #[tokio::test]
    async fn names_the_file_and_the_way_out() {
        let source = ClientSource::Kubeconfig("/nonexistent/kubeconfig".into());
        let Err(error) = connect(&source, &HungRequests::default()).await else {
            panic!("there is no such file")
        };
        let text = error.to_string();
        assert!(text.contains("/nonexistent/kubeconfig") && text.contains("--incluster"), "{text}");
        assert!(innermost(&error).contains("No such file"), "{}", innermost(&error));
    }

    #[tokio::test]
    async fn names_the_service_account_outside_a_pod() {
        let Err(error) = connect(&ClientSource::InCluster, &HungRequests::default()).await else {
            panic!("tests do not run in a pod")
        };
        assert!(error.to_string().contains("--kubeconfig"), "{error}");
    }
}
