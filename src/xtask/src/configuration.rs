//! Manual pages of configuration files. The example is the documentation: it has every key with its
//! default and says what each means, so the page is the example as it is.

use crate::Example;

/// The page of an example configuration in roff.
pub(crate) fn page(example: &Example, date: &str, text: &str) -> String {
    let Example {
        file,
        about,
        see_also,
    } = example;
    let mut page = format!(
        ".TH helix-{file} 5 {date} \"helix {}\" \"Helix\"\n\
         .SH NAME\nhelix\\-{file} \\- {about}\n\
         .SH SYNOPSIS\n/etc/helix/{file}\n\
         .SH DESCRIPTION\n\
         The file is TOML. Every key is below with its default, in a comment that says what it means.\n\
         .SH CONTENT\n.EX\n",
        env!("CARGO_PKG_VERSION"),
    );
    for line in text.lines() {
        page.push_str(&escaped(line));
        page.push('\n');
    }
    page.push_str(".EE\n.SH SEE ALSO\n");
    page.push_str(&see_also.join(", "));
    page.push('\n');
    page
}

/// A line that means itself.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    // At the start of a line both are orders.
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_example_mean_themselves() {
        for (line, expected) in [
            ("plain", "plain"),
            ("'quoted'", "\\&'quoted'"),
            (".dotted", "\\&.dotted"),
            (r"^(\S+)", r"^(\eS+)"),
            ("a-b", "a\\-b"),
        ] {
            assert_eq!(escaped(line), expected);
        }
    }
}
