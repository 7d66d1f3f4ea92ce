//! Pressure stall information as the kernel gives it.

use std::fmt;

/// A share of time in hundredths of a percent, 0 to 10 000; or [`StallShare::NEVER`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StallShare(u16);

/// A text that is not a share such as `12.34`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a share of time between 0 and 100 percent")]
pub struct StallShareError;

impl StallShare {
    /// The whole time.
    pub const ALL: Self = Self(10_000);

    /// More than the whole time: as a threshold, one that no reading reaches.
    pub const NEVER: Self = Self(u16::MAX);

    /// A share from whole percent; more than 100 counts as 100.
    #[must_use]
    pub const fn percent(percent: u16) -> Self {
        if percent >= 100 {
            Self::ALL
        } else {
            Self(percent * 100)
        }
    }

    /// The share in hundredths of a percent; the largest number for [`StallShare::NEVER`].
    #[must_use]
    pub fn hundredths(self) -> u16 {
        self.0
    }

    /// Reads a number of percent with at most two decimals that count, as the kernel prints it.
    ///
    /// # Errors
    ///
    /// Not such a number, or above 100.
    pub fn parse(text: &str) -> Result<Self, StallShareError> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || !digits(whole) || !digits(decimals) {
            return Err(StallShareError);
        }
        let hundredths = decimals.bytes().chain([b'0', b'0']).take(2);
        let value = whole
            .bytes()
            .chain(hundredths)
            .fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        let value = u16::try_from(value).map_err(|_| StallShareError)?;
        if value > Self::ALL.0 {
            Err(StallShareError)
        } else {
            Ok(Self(value))
        }
    }
}

impl fmt::Display for StallShare {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NEVER => formatter.write_str("never"),
            Self(hundredths) => write!(formatter, "{}.{:02} %", hundredths / 100, hundredths % 100),
        }
    }
}

/// The averages over ten seconds of one file of `/proc/pressure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StallLines {
    /// The share of time in which some tasks waited.
    pub some: StallShare,
    /// The share of time in which all tasks waited; none where the kernel does not say.
    pub full: Option<StallShare>,
}

impl StallLines {
    /// Reads the text of one file of `/proc/pressure`; none if it has no readable `some` line.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let average = |kind: &str| {
            text.lines().find_map(|line| {
                let mut words = line.split_ascii_whitespace();
                if words.next() != Some(kind) {
                    return None;
                }
                let share = words.find_map(|word| word.strip_prefix("avg10="))?;
                StallShare::parse(share).ok()
            })
        };
        Some(Self {
            some: average("some")?,
            full: average("full"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_text_is_read() {
        let text = "some avg10=12.34 avg60=1.00 avg300=0.00 total=1\n\
                    full avg10=100.00 avg60=0.00 avg300=0.00 total=1\n";
        let lines = StallLines::parse(text).expect("good");
        assert_eq!(
            (lines.some.hundredths(), lines.full),
            (1234, Some(StallShare::ALL))
        );
        let only_some = StallLines::parse("some avg10=0.05 total=1").expect("good");
        assert_eq!(
            (only_some.some.to_string().as_str(), only_some.full),
            ("0.05 %", None)
        );
        for bad in [
            "",
            "full avg10=1.00",
            "some",
            "some avg10=",
            "some avg10=x",
            "some avg10=100.01",
        ] {
            assert_eq!(StallLines::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn shares_are_between_nothing_and_all() {
        let check = |text: &str, expected: Option<u16>| {
            assert_eq!(
                StallShare::parse(text).ok().map(StallShare::hundredths),
                expected,
                "{text}"
            );
        };
        check("0", Some(0));
        check("7.5", Some(750));
        check("99.999", Some(9999));
        check("100.00", Some(10_000));
        check("101", None);
        check("-1", None);
        check("1e2", None);
        check("NaN", None);
        check(".5", None);
        assert_eq!(StallShare::percent(u16::MAX), StallShare::ALL);
        assert!(StallShare::ALL < StallShare::NEVER);
        assert_eq!(StallShare::NEVER.to_string(), "never");
    }
}
