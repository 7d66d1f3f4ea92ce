//! Pressure stall information, `/proc/pressure/{cpu,memory,io}`.

use std::fs;
use std::path::Path;

use helix_model::pressure::StallLines;

use super::{PressureError, Reading};

/// Where the kernel tells of the whole machine.
pub(super) const DIRECTORY: &str = "/proc/pressure";

/// How much of an unexpected text is quoted, in characters.
const QUOTED: usize = 80;

pub(super) fn read(directory: &Path) -> Result<Reading, PressureError> {
    Ok(Reading::Stalls {
        cpu: lines(directory, "cpu")?,
        memory: lines(directory, "memory")?,
        io: lines(directory, "io")?,
    })
}

fn lines(directory: &Path, name: &str) -> Result<StallLines, PressureError> {
    let path = directory.join(name);
    // A kernel that was told not to measure has the files, but reading them fails.
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(PressureError::NotMeasured { path, source }),
    };
    StallLines::parse(&text).ok_or_else(|| PressureError::Unreadable {
        place: path.display().to_string(),
        text: text.chars().take(QUOTED).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use helix_model::pressure::{StallLines, StallShare};

    use super::{Reading, read};
    use crate::pressure::PressureError;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("it can be written to");
        }
        directory
    }

    const CALM: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";

    #[test]
    fn files_of_the_kernel_are_read() {
        let directory = directory(&[
            (
                "cpu",
                "some avg10=12.34 avg60=0.29 avg300=0.81 total=10664605\n",
            ),
            ("memory", CALM),
            (
                "io",
                "some avg10=100.00 avg60=1.00 avg300=1.00 total=9\n\
                 full avg10=99.01 avg60=1.00 avg300=1.00 total=8\n",
            ),
        ]);
        let Ok(Reading::Stalls { cpu, memory, io }) = read(directory.path()) else {
            panic!("the files are well formed");
        };
        assert_eq!((cpu.some.hundredths(), cpu.full), (1234, None));
        assert_eq!(
            memory,
            StallLines {
                some: StallShare::default(),
                full: None
            }
        );
        assert_eq!(io.full.map(StallShare::hundredths), Some(9901));
    }

    #[test]
    fn absent_file_says_that_the_kernel_does_not_measure() {
        let directory = directory(&[("cpu", CALM), ("io", CALM)]);
        match read(directory.path()) {
            Err(PressureError::NotMeasured { path, .. }) => {
                assert_eq!(path, directory.path().join("memory"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn unexpected_text_is_quoted_in_part() {
        let nonsense = "x".repeat(1000);
        let directory = directory(&[("cpu", &nonsense), ("memory", CALM), ("io", CALM)]);
        match read(directory.path()) {
            Err(PressureError::Unreadable { text, .. }) => assert_eq!(text, "x".repeat(80)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn this_machine_has_a_reading_or_says_why_not() {
        match Reading::take() {
            Ok(Reading::Stalls { .. }) | Err(PressureError::NotMeasured { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}
