//! Users and groups of macOS, by the words of `dscl`. On Linux `systemd-sysusers` makes them.

use std::collections::BTreeSet;

use super::run::{Problem, Tools};

pub(super) const USERS: &str = "Users";
pub(super) const GROUPS: &str = "Groups";

/// Where accounts of services are, between those of the system and those of people.
const NUMBERS: std::ops::Range<u32> = 300..400;

/// The directory service of this machine.
#[derive(Debug)]
pub(super) struct Accounts<'a> {
    tools: &'a Tools,
}

impl<'a> Accounts<'a> {
    pub(super) fn of(tools: &'a Tools) -> Self {
        Self { tools }
    }

    /// The number of a user or a group; `None` if there is none of that name.
    pub(super) fn number(&self, kind: &str, name: &str) -> Option<u32> {
        let record = format!("/{kind}/{name}");
        let answer = self.tools.run(&["dscl", ".", "-read", &record, key(kind)]);
        answer.ok()?.split_whitespace().nth(1)?.parse().ok()
    }

    /// One that no user and no group has.
    fn free_number(&self) -> Result<u32, Problem> {
        let mut taken = BTreeSet::new();
        for kind in [USERS, GROUPS] {
            let list = format!("/{kind}");
            let list = self.tools.run(&["dscl", ".", "-list", &list, key(kind)])?;
            let numbers = list
                .lines()
                .filter_map(|line| line.split_whitespace().last());
            taken.extend(numbers.filter_map(|number| number.parse::<u32>().ok()));
        }
        let mut numbers = NUMBERS;
        numbers
            .find(|number| !taken.contains(number))
            .ok_or(Problem::NoNumber)
    }

    /// Makes a user who is not shown and cannot log in, and a group that nobody else is in. Says
    /// whether there was no such user. One half made is made whole.
    pub(super) fn make(&self, name: &str, description: &str) -> Result<bool, Problem> {
        let (user, group) = (self.number(USERS, name), self.number(GROUPS, name));
        let number = match user.or(group) {
            Some(number) => number,
            None => self.free_number()?,
        };
        let number = number.to_string();
        let set = |kind: &str, values: &[(&str, &str)]| {
            let record = format!("/{kind}/{name}");
            self.tools.run(&["dscl", ".", "-create", &record])?;
            for (key, value) in values {
                self.tools
                    .run(&["dscl", ".", "-create", &record, key, value])?;
            }
            Ok::<_, Problem>(())
        };
        set(
            GROUPS,
            &[
                ("PrimaryGroupID", &number),
                ("RealName", description),
                ("Password", "*"),
            ],
        )?;
        set(
            USERS,
            &[
                ("UniqueID", &number),
                ("PrimaryGroupID", &number),
                ("RealName", description),
                ("UserShell", "/usr/bin/false"),
                ("NFSHomeDirectory", "/var/empty"),
                ("Password", "*"),
                ("IsHidden", "1"),
            ],
        )?;
        // A password that is `*` is no password; without this record there is no other way to log in
        // either. Mostly there is none.
        let record = format!("/{USERS}/{name}");
        let _ = self
            .tools
            .run(&["dscl", ".", "-delete", &record, "AuthenticationAuthority"]);
        Ok(user.is_none())
    }

    /// Removes a user and its group. Says whether there were any.
    pub(super) fn remove(&self, name: &str) -> Result<bool, Problem> {
        let mut were_any = false;
        for kind in [USERS, GROUPS] {
            if self.number(kind, name).is_some() {
                let record = format!("/{kind}/{name}");
                self.tools.run(&["dscl", ".", "-delete", &record])?;
                were_any = true;
            }
        }
        Ok(were_any)
    }
}

/// Under which a record has its number.
fn key(kind: &str) -> &'static str {
    match kind {
        GROUPS => "PrimaryGroupID",
        _ => "UniqueID",
    }
}
