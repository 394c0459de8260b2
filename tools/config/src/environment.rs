//! Variables that look like options and are none.
//!
//! A key of a file that is not known is an error; a variable is only worth a word: whoever starts the
//! program may set some for its own use. Kubernetes does, for every service: one that is called
//! `uringmq` gives `URINGMQ_SERVICE_HOST`, `URINGMQ_PORT_9440_TCP` and others.

use clap::Command;

use crate::file::nearest;

/// What all variables of this program begin with.
pub const PREFIX: &str = "URINGMQ_";

/// Says of each of these names that begins with [`PREFIX`] and is no variable of `command` or one of
/// its subcommands what may have been meant.
#[must_use]
pub fn strangers<'a>(command: &Command, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut known = Vec::new();
    variables(command, &mut known);
    let ours = names.into_iter().filter_map(|name| Some((name, name.strip_prefix(PREFIX)?)));
    let strange = ours.filter(|(name, _)| !known.iter().any(|known| known == name));
    let said = strange.filter(|(_, rest)| !is_of_kubernetes(rest)).map(|(name, rest)| {
        let rests = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
        match nearest(rests, rest) {
            Some(meant) => format!("there is no variable {name}; did you mean {PREFIX}{meant}?"),
            None => format!("there is no variable {name}; it does nothing"),
        }
    });
    said.collect()
}

fn variables(command: &Command, known: &mut Vec<String>) {
    let of_args = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
    known.extend(of_args.map(str::to_owned));
    command.get_subcommands().for_each(|below| variables(below, known));
}

fn is_of_kubernetes(rest: &str) -> bool {
    let words = ["SERVICE_HOST", "SERVICE_PORT", "PORT"];
    words.iter().any(|word| {
        rest.strip_prefix(word).is_some_and(|behind| behind.is_empty() || behind.starts_with('_'))
    })
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;
    use crate::Arguments;

    #[test]
    fn who_has_mistyped_is_told_the_nearest_name() {
        let command = Command::new("top");
        let command = command.subcommand(Arguments::augment_args(Command::new("serve")));
        let names = [
            "URINGMQ_WIAT",
            "URINGMQ_WAIT",
            "URINGMQ_CONFIG",
            "URINGMQ_ZEBRA",
            "HOME",
            "URINGMQ_SERVICE_HOST",
            "URINGMQ_SERVICE_PORT_NATIVE",
            "URINGMQ_PORT_9440_TCP_ADDR",
        ];
        assert_eq!(
            strangers(&command, names),
            [
                "there is no variable URINGMQ_WIAT; did you mean URINGMQ_WAIT?",
                "there is no variable URINGMQ_ZEBRA; it does nothing",
            ]
        );
    }
}
