//! What every binary needs: admin endpoints, readiness, two-signal shutdown, telemetry, supervised tasks.
//!
//! A binary is put together like this:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use contour_runtime::{
//!     AdminAddresses, AdminServers, BuildInfo, HealthCheck, Readiness, Shutdown, Tasks, Telemetry, health_router, metrics_router,
//! };
//! use prometheus_client::registry::Registry;
//!
//! Telemetry::default().init()?;
//! let shutdown = Shutdown::on_signals()?;
//! let readiness = Readiness::new();
//! let synced = readiness.handle("objects");
//! let mut registry = Registry::default();
//! contour_runtime::register_process_metrics(&mut registry, &BuildInfo::current());
//!
//! let servers = AdminServers::bind(&AdminAddresses::default()).await?;
//! let mut tasks = Tasks::new(shutdown.token());
//! tasks.spawn("admin", servers.serve(
//!     metrics_router(registry),
//!     health_router(readiness.clone(), HealthCheck::always()),
//!     axum::Router::new().route("/debug/xds", axum::routing::get(|| async { "streams" })),
//!     shutdown.token(),
//! ));
//! drop(synced); // when the first complete configuration is served
//! tasks.join(Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```

mod admin;
mod build;
mod dedicated;
mod process;
mod readiness;
mod shutdown;
mod tasks;
mod telemetry;

pub use admin::{
    AdminAddresses, AdminError, AdminServers, HealthCheck, Listen, health_router, metrics_router,
};
pub use build::{BuildInfo, register_process_metrics};
pub use dedicated::Dedicated;
pub use readiness::{Readiness, ReadinessHandle};
pub use shutdown::Shutdown;
pub use tasks::{TaskError, Tasks};
pub use telemetry::{LogFormat, Telemetry, TelemetryError};
