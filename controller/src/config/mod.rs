//! Flags and configuration file to [`Settings`].
//!
//! Three layers, each a value: what was typed ([`crate::cli::ServeArgs`], [`ConfigFile`], [`Environment`]), what it means together
//! ([`Settings`], made by the pure [`resolve`]), and [`load`], the only function here that reads a file. Whatever is wrong is told
//! at once, each line with its flag or key and a way out.

mod access_log;
mod checks;
mod envoy;
mod error;
pub mod file;
mod later;
mod resolve;
mod settings;
mod yaml;

use std::fs;

pub use error::{ConfigError, LoadError, Place};
pub use file::ConfigFile;
pub use resolve::{Environment, resolve};
pub use settings::{KubernetesSettings, LeaderElectionSettings, Settings, XdsSettings, XdsTls};
pub use yaml::parse;

use crate::cli::ServeArgs;

/// The settings of this process: reads the file that `--config-path` names and the environment, once.
pub fn load(args: &ServeArgs) -> Result<Settings, LoadError> {
    let file = match &args.base.config_path {
        None => Ok(ConfigFile::default()),
        Some(path) => {
            let text =
                fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
            parse(&text)
        }
    };
    file.map_err(Vec::from)
        .and_then(|file| resolve(args, &file, &Environment::of_process()))
        .map_err(|errors| LoadError::Invalid { file: args.base.config_path.clone(), errors })
}
