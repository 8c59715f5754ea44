//! What every binary needs: admin endpoints, readiness, two-signal shutdown, telemetry.
