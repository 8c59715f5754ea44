//! `--no-flag`, which manifests written for Contour may hold: every boolean can be negated.

use std::any::TypeId;
use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// How an argument is passed on.
enum Spelling {
    AsTyped,
    Omitted,
    As(String),
}

/// Spells `--no-flag` as clap reads it: `--flag=false` for booleans that take a value, nothing for plain switches, which are off
/// unless named. Other arguments, and all after `--`, stay as they are.
pub(super) fn spell_out(command: &Command, arguments: Vec<OsString>) -> Vec<OsString> {
    let end = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let spelled = |(index, typed): (usize, OsString)| match typed.to_str().map(|text| spelling(command, text))
    {
        Some(Spelling::As(text)) if index < end => Some(text.into()),
        Some(Spelling::Omitted) if index < end => None,
        _ => Some(typed),
    };
    arguments.into_iter().enumerate().filter_map(spelled).collect()
}

fn spelling(command: &Command, text: &str) -> Spelling {
    let Some(name) = text.strip_prefix("--no-") else { return Spelling::AsTyped };
    if find(command, &text[2..]).is_some() {
        return Spelling::AsTyped;
    }
    match find(command, name) {
        Some(flag) if matches!(flag.get_action(), ArgAction::SetTrue) => Spelling::Omitted,
        Some(flag) if flag.get_value_parser().type_id() == TypeId::of::<bool>() => {
            Spelling::As(format!("--{name}=false"))
        }
        _ => Spelling::AsTyped,
    }
}

/// The flag of this long name, anywhere in the command's tree.
fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(name));
    own.or_else(|| command.get_subcommands().find_map(|command| find(command, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(arguments: &[&str]) -> Vec<OsString> {
        let boolean = Arg::new("insecure")
            .long("insecure")
            .num_args(0..=1)
            .require_equals(true)
            .value_parser(clap::value_parser!(bool));
        let serve = Command::new("serve").args([
            boolean,
            Arg::new("quiet").long("quiet").action(ArgAction::SetTrue),
            Arg::new("no-color").long("no-color").action(ArgAction::SetTrue),
            Arg::new("color").long("color").action(ArgAction::SetTrue),
            Arg::new("name").long("name"),
        ]);
        let command = Command::new("contour").subcommand(serve);
        spell_out(&command, arguments.iter().map(OsString::from).collect())
    }

    #[test]
    fn only_booleans_are_negated() {
        assert_eq!(spelled(&["contour", "serve", "--no-insecure"]), ["contour", "serve", "--insecure=false"]);
        assert_eq!(spelled(&["--no-quiet", "--quiet"]), ["--quiet"]);
        for unchanged in ["--no-name", "--no-such", "--no-color", "--no-", "no-insecure", "--insecure"] {
            assert_eq!(spelled(&[unchanged]), [unchanged]);
        }
        assert_eq!(spelled(&["--", "--no-insecure"]), ["--", "--no-insecure"]);
    }
}
