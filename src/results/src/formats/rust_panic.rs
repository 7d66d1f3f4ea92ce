//! The panic message in what a Rust test printed.

/// A panic: where and what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panic<'t> {
    pub(crate) file: &'t str,
    pub(crate) line: u64,
    pub(crate) message: &'t str,
}

/// The first panic in `output`. Both layouts are known: the message behind the place on lines of its own, and (in
/// compilers before 1.73) in quotes in front of the place.
pub(crate) fn find(output: &str) -> Option<Panic<'_>> {
    const MARK: &str = "panicked at ";
    let start = output.find(MARK)? + MARK.len();
    let rest = &output[start..];
    let (line, below) = rest.split_once('\n').unwrap_or((rest, ""));
    if let Some(place) = line.trim_end().strip_suffix(':')
        && let Some((file, number)) = place_of(place)
    {
        let message = below.split("\nstack backtrace:").next().unwrap_or(below);
        let message = message.split("\nnote: run with").next().unwrap_or(message);
        return Some(Panic {
            file,
            line: number,
            message: message.trim_end(),
        });
    }
    let end = rest.find("', ")?;
    let message = rest[..end].strip_prefix('\'')?;
    let place = rest[end + 3..].lines().next()?;
    let (file, number) = place_of(place)?;
    Some(Panic {
        file,
        line: number,
        message,
    })
}

/// `src/lib.rs:4:74` in its parts; the column is not kept.
fn place_of(place: &str) -> Option<(&str, u64)> {
    let (rest, column) = place.rsplit_once(':')?;
    let (file, line) = rest.rsplit_once(':')?;
    column.parse::<u64>().ok()?;
    Some((file, line.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_found_in_both_layouts() {
        let new = "noise\nthread 'tests::a' (12) panicked at src/lib.rs:4:74:\nfirst\nsecond\nstack backtrace:\n 0: x\n";
        assert_eq!(
            find(new),
            Some(Panic {
                file: "src/lib.rs",
                line: 4,
                message: "first\nsecond"
            })
        );
        let hint = "thread 'a' panicked at a.rs:1:2:\nboom\nnote: run with `RUST_BACKTRACE=1` environment variable\n";
        assert_eq!(find(hint).map(|panic| panic.message), Some("boom"));
        let old = "thread 'a' panicked at 'it''s, over', src/x.rs:9:5\nnote: y";
        assert_eq!(
            find(old),
            Some(Panic {
                file: "src/x.rs",
                line: 9,
                message: "it''s, over"
            })
        );
        for text in [
            "",
            "panicked at ",
            "panicked at nowhere",
            "panicked at 'x', here",
            "panicked at a:b:c:\n",
        ] {
            assert_eq!(find(text), None, "{text}");
        }
    }
}
