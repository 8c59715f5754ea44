//! The ContourConfiguration of `--contour-config-name`: the same settings as by flags and file, under other names (reference 2.3).
//!
//! As in Contour the object alone decides what it can say, at the defaults of this mode where it says nothing. Flags about the way to the
//! API server, watched namespaces, logs and the lease, which it cannot say, still count.

mod fields;
mod translate;

use contour_crds::contour_configuration::ContourConfigurationSpec;

use super::error::{ConfigError, Findings, Place};
use super::{Environment, Settings, resolve};
use crate::cli::ServeArgs;

/// One thing that is wrong with a ContourConfiguration, or not served yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigurationProblem {
    /// Path of the field, from `spec`.
    pub field: String,
    /// What is wrong, and the way out.
    pub message: String,
}

/// Whether `contour serve` could start with this object, and nothing but `--contour-config-name` on its command line. Empty: it could.
///
/// Files are not looked at. Everything wrong is told at once.
pub fn check_configuration(spec: &ContourConfigurationSpec) -> Vec<ConfigurationProblem> {
    let errors = resolve_object(&ServeArgs::unset(), spec, &Environment::default()).err().unwrap_or_default();
    errors.into_iter().map(ConfigurationProblem::from).collect()
}

impl From<ConfigError> for ConfigurationProblem {
    fn from(error: ConfigError) -> Self {
        let place = match &error {
            ConfigError::Invalid { place, .. } | ConfigError::Unsupported { place, .. } => place.to_string(),
            ConfigError::Parse { .. } => String::from("spec"),
        };
        let text = error.to_string();
        let message = text.strip_prefix(&place).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&text);
        Self { message: message.to_owned(), field: place }
    }
}

/// The settings that flags, object and environment make together, or everything that is wrong with them.
pub fn resolve_object(
    args: &ServeArgs,
    spec: &ContourConfigurationSpec,
    env: &Environment,
) -> Result<Settings, Vec<ConfigError>> {
    let numbers = translate::numbers(spec);
    let (args, file) = translate::translate(args, spec);
    let settings = resolve(&args, &file, env);
    let told = |errors: Vec<ConfigError>| errors.into_iter().map(fields::told_of_object).collect();
    match (numbers, settings) {
        (Ok(()), settings) => settings.map_err(told),
        (Err(wrong), Ok(_)) => Err(wrong),
        (Err(wrong), Err(errors)) => Err([wrong, told(errors)].concat()),
    }
}

/// Flags that say otherwise than the object and have no effect, each with the field that has.
pub fn overruled(args: &ServeArgs, spec: &ContourConfigurationSpec) -> Vec<(&'static str, String)> {
    let (decided, _) = translate::translate(args, spec);
    let unset = translate::said(&ServeArgs::unset());
    let flags = translate::said(args).into_iter().zip(unset).zip(translate::said(&decided));
    let without_effect = flags.filter(|((typed, unset), decided)| typed.1 != unset.1 && typed.1 != decided.1);
    without_effect.filter_map(|((typed, _), _)| Some((typed.0, fields::field_of(typed.0)?))).collect()
}
