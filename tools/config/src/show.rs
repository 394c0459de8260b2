//! Settings for people and programs: TOML that can be given back, with or without what every
//! option does.

use std::fmt::Write as _;

use crate::Setting;

/// Characters of a line of explanation.
const WIDTH: usize = 96;

/// A file that says what these settings say. With `explained` each has its help above it.
#[must_use]
pub fn toml(settings: &[Setting], explained: bool) -> String {
    let lines: Vec<String> = settings
        .iter()
        .map(|setting| format!("{} = {}", setting.key, value(&setting.value)))
        .collect();
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (setting, line) in settings.iter().zip(&lines) {
        // Writing to a String cannot fail.
        if explained {
            for line in wrapped(&setting.help) {
                let _ = writeln!(text, "# {line}");
            }
            let _ = writeln!(text, "{line}\n");
        } else {
            let _ = writeln!(text, "{line:<width$}  # {}", one_line(&setting.source.to_string()));
        }
    }
    text
}

/// A value as TOML: numbers and truth values as such, everything else in quotes.
fn value(text: &str) -> String {
    let bare = text == "true" || text == "false";
    if bare || text.parse::<i64>().is_ok_and(|number| number.to_string() == text) {
        return text.to_owned();
    }
    toml::Value::from(text).to_string()
}

/// A file's name may have line ends in it, a comment may not.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let room = lines.last().is_none_or(|line| line.len() + word.len() < WIDTH);
        if !room {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::file::parse;
    use crate::settings::of_file;
    use crate::{File, Source};

    #[test]
    fn what_is_printed_says_the_same_when_it_is_read() {
        let text = "data = 'a\"b\\c d'\nretention = \"none\"\nshards = 7\nallow_remote = true\n";
        let read = |text: &str| {
            let entries = parse(text.as_bytes()).unwrap();
            of_file(&File { path: PathBuf::from("a\nb"), entries }).unwrap()
        };
        let first = read(text);
        for explained in [false, true] {
            let printed = toml(&first.settings, explained);
            let second = read(&printed);
            assert_eq!(second.options, first.options, "{printed}");
            assert!(second.settings.iter().all(|s| matches!(s.source, Source::File { .. })));
        }
        let printed = toml(&first.settings, false);
        assert!(printed.contains("shards = 7") && printed.contains("# default"), "{printed}");
        assert!(toml(&first.settings, true).contains("# Data directory; made"));
    }
}
