//! What can be read from the output of a Go test.

use crate::model::SourceLocation;
use crate::text::{Text, prefix};

/// Whether the line was printed by the test runner about the test.
pub(crate) fn is_framing(line: &str) -> bool {
    const STARTS: [&str; 8] = [
        "=== ",
        "--- ",
        "FAIL",
        "PASS",
        "ok  \t",
        "exit status ",
        "# ",
        "\u{16}",
    ];
    let line = line.trim_start();
    STARTS.iter().any(|start| line.starts_with(start))
}

/// The first line that says something, without the place in front of it.
pub(crate) fn framed_message(output: &str) -> Text {
    let line = output
        .lines()
        .find(|line| !is_framing(line) && !line.trim().is_empty());
    let line = line.unwrap_or_default().trim();
    let message = match split_location(line) {
        Some((_, _, rest)) if !rest.is_empty() => rest,
        _ => line,
    };
    Text::from(prefix(message, 4 << 10))
}

/// Where the first line that names a place says it is.
pub(crate) fn location_of(output: &str) -> Option<SourceLocation> {
    output.lines().find_map(|line| {
        let (file, line, _) = split_location(line.trim())?;
        Some(SourceLocation {
            file: file.to_owned(),
            line: Some(line),
        })
    })
}

/// `file.go:12: text` in its parts. The compiler tells a column too, which is left out.
fn split_location(line: &str) -> Option<(&str, u64, &str)> {
    let (file, rest) = line.split_once(".go:")?;
    let (number, rest) = rest.split_once(':')?;
    let fits = !file.is_empty() && !file.contains(char::is_whitespace);
    let file = line.get(..file.len() + 3)?;
    let text = match rest.split_once(':') {
        Some((column, text)) if column.parse::<u64>().is_ok() => text,
        _ => rest,
    };
    fits.then(|| {
        number
            .parse()
            .ok()
            .map(|number| (file, number, text.trim()))
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_and_place_come_from_the_first_line_of_the_test_itself() {
        let output =
            "=== RUN   TestA\n    a_test.go:12: got 1\n        want 2\n--- FAIL: TestA (0.00s)\n";
        assert_eq!(framed_message(output).as_str(), "got 1");
        let place = location_of(output).expect("a place");
        assert_eq!((place.file.as_str(), place.line), ("a_test.go", Some(12)));
        let built = "# p\n./bad.go:3:5: undefined: x\n";
        assert_eq!(framed_message(built).as_str(), "undefined: x");
        let place = location_of(built).expect("a place");
        assert_eq!((place.file.as_str(), place.line), ("./bad.go", Some(3)));
        assert_eq!(framed_message("=== RUN   TestB\n").as_str(), "");
        assert_eq!(
            framed_message("free text, no place: here").as_str(),
            "free text, no place: here"
        );
        assert_eq!(location_of("not a place.go:x: y\n.go:1: z"), None);
    }
}
