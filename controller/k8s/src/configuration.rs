//! Reads the ContourConfiguration of `--contour-config-name`.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use contour_crds::contour_configuration::{ContourConfiguration, ContourConfigurationSpec};
use contour_objects::NamespacedName;
use kube::{Api, Client};
use thiserror::Error;
use tokio::time::timeout;

use crate::client::innermost;

/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no ContourConfiguration.
#[derive(Debug, Error)]
pub enum ConfigurationError {
    /// It does not exist, or its kind does not.
    #[error(
        "there is no ContourConfiguration {0}; create it, or name another with --contour-config-name (its namespace is $CONTOUR_NAMESPACE)"
    )]
    Missing(NamespacedName),
    /// The request was refused or not answered.
    #[error(
        "ContourConfiguration {name} cannot be read: {cause}; check the way to the API server, and that this account may get it"
    )]
    Failed {
        /// The object.
        name: NamespacedName,
        /// What happened.
        cause: String,
    },
}

/// The specification of this object. Asks again for half a minute where it is refused: it may be created a moment after us.
pub async fn configuration(
    client: &Client,
    name: &NamespacedName,
) -> Result<ContourConfigurationSpec, ConfigurationError> {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(5))
        .with_factor(2.0)
        .with_max_times(8);
    let told = |error: &ConfigurationError, pause: Duration| {
        tracing::warn!("{error} (trying again in {:.1} s)", pause.as_secs_f32());
    };
    (|| get(client, name)).retry(pauses).notify(told).await
}

async fn get(client: &Client, name: &NamespacedName) -> Result<ContourConfigurationSpec, ConfigurationError> {
    let objects: Api<ContourConfiguration> = Api::namespaced(client.clone(), &name.namespace);
    let failed = |cause: String| ConfigurationError::Failed { name: name.clone(), cause };
    match timeout(REQUEST_LIMIT, objects.get_opt(&name.name)).await {
        Ok(Ok(Some(object))) => Ok(object.spec),
        Ok(Ok(None)) => Err(ConfigurationError::Missing(name.clone())),
        Ok(Err(error)) => Err(failed(innermost(&error))),
        Err(_) => Err(failed(format!("no answer within {REQUEST_LIMIT:?}"))),
    }
}
