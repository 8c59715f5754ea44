//! Flags and configuration file, or ContourConfiguration, to [`Settings`].
//!
//! Three layers, each a value: what was typed ([`crate::cli::ServeArgs`], [`ConfigFile`] or ContourConfiguration, [`Environment`]), what it
//! means together ([`Settings`], made by the pure [`resolve`] and [`resolve_object`]), and [`load`], the only function here that reads a
//! file. Whatever is wrong is told at once, each line with its flag, key or field and a way out.

mod access_log;
mod checks;
mod envoy;
mod error;
pub mod file;
mod later;
mod object;
mod resolve;
mod settings;
mod yaml;

use std::fs;

use contour_objects::NamespacedName;

pub use error::{ConfigError, LoadError, Place};
pub use file::ConfigFile;
pub use object::{ConfigurationProblem, check_configuration, overruled, resolve_object};
pub use resolve::{Environment, kubeconfig, level, resolve};

pub use settings::{KubernetesSettings, LeaderElectionSettings, Settings, XdsSettings, XdsTls};
pub use yaml::parse;

use crate::cli::ServeArgs;
use resolve::object_of;

/// Where the settings of this process come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Flags and file, which say these.
    Settings(Box<Settings>),
    /// The ContourConfiguration of this name, still to be read.
    Object(NamespacedName),
}

/// Where `--contour-config-name` or `--config-path` say that the settings are; a file is read.
pub fn source(args: &ServeArgs) -> Result<Source, LoadError> {
    match object_of(args, &Environment::of_process()) {
        Ok(Some(object)) => Ok(Source::Object(object)),
        Ok(None) => load(args).map(|settings| Source::Settings(Box::new(settings))),
        Err(error) => Err(LoadError::Invalid { file: None, errors: vec![error] }),
    }
}

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
