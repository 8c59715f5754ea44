//! CA, leaves and rotation policy.
