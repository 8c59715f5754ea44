//! The API types, and nothing else: no client, no runtime.
