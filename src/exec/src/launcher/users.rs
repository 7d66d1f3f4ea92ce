//! The users that commands run as: looked up once, before the launcher answers anybody.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;

use nix::unistd::{Gid, Group, Uid, User, geteuid};

use super::config::{Pool, Users};

/// Names of groups whose members are root in all but name.
const POWERFUL_GROUPS: [&str; 10] = [
    "root", "wheel", "sudo", "admin", "adm", "disk", "shadow", "docker", "lxd", "kmem",
];

/// A user that a command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotUser {
    pub(crate) uid: Uid,
    /// Its primary group, which no other slot has.
    pub(crate) gid: Gid,
    /// As it is found in `USER` and `LOGNAME`.
    pub(crate) name: Vec<u8>,
    /// All groups it is in, its primary one first.
    pub(crate) groups: Vec<Gid>,
}

/// Looks the configured users up; what is wrong with them, in words.
pub(super) fn resolve(users: &Users, client_uid: u32) -> Result<Vec<SlotUser>, String> {
    if !geteuid().is_root() {
        return Err("only root can run commands as other users".to_owned());
    }
    let groups = users
        .groups
        .iter()
        .map(|name| shared_group(name))
        .collect::<Result<Vec<_>, _>>()?;
    let mut pool = match &users.pool {
        Pool::Named(names) => names
            .iter()
            .map(|name| named(name))
            .collect::<Result<_, _>>()?,
        Pool::Range { first, count } => range(*first, *count)?,
    };
    let (mut uids, mut gids) = (HashSet::new(), HashSet::new());
    for user in &mut pool {
        let name = String::from_utf8_lossy(&user.name).into_owned();
        if user.uid.is_root() || user.gid.as_raw() == 0 {
            return Err(format!("user `{name}` has the rights of root"));
        }
        if user.uid.as_raw() == client_uid {
            return Err(format!("user `{name}` is the client's own"));
        }
        if user.gid == client_group(client_uid) {
            return Err(format!("user `{name}` has the client's primary group"));
        }
        let group = Group::from_gid(user.gid)
            .map_err(|errno| format!("look up the group of user `{name}`: {errno}"))?;
        if let Some(group) = group.filter(|group| POWERFUL_GROUPS.contains(&group.name.as_str())) {
            return Err(format!(
                "user `{name}` is in group `{}`, which gives power over the machine",
                group.name
            ));
        }
        if !uids.insert(user.uid.as_raw()) {
            return Err(format!("user `{name}` is named twice"));
        }
        if !gids.insert(user.gid.as_raw()) || groups.contains(&user.gid) {
            return Err(format!(
                "user `{name}` shares its primary group with another"
            ));
        }
        user.groups = std::iter::once(user.gid)
            .chain(groups.iter().copied())
            .collect();
    }
    if pool.is_empty() {
        return Err("the pool of users is empty".to_owned());
    }
    Ok(pool)
}

fn named(name: &str) -> Result<SlotUser, String> {
    let user = User::from_name(name)
        .map_err(|errno| format!("look up user `{name}`: {errno}"))?
        .ok_or_else(|| format!("there is no user `{name}`"))?;
    Ok(SlotUser {
        uid: user.uid,
        gid: user.gid,
        name: name.as_bytes().to_owned(),
        groups: Vec::new(),
    })
}

fn range(first: u32, count: u32) -> Result<Vec<SlotUser>, String> {
    // The last two ids mean "nobody" and "no change" to the kernel and to file systems.
    let end = first.checked_add(count).filter(|end| *end < u32::MAX - 1);
    let end = end.ok_or("the range of users goes beyond the last id")?;
    (first..end)
        .map(|id| {
            let known = User::from_uid(Uid::from_raw(id))
                .map_err(|errno| format!("look up user {id}: {errno}"))?;
            Ok(SlotUser {
                uid: Uid::from_raw(id),
                gid: Gid::from_raw(id),
                name: known
                    .map_or_else(|| id.to_string(), |user| user.name)
                    .into_bytes(),
                groups: Vec::new(),
            })
        })
        .collect()
}

fn shared_group(name: &str) -> Result<Gid, String> {
    if POWERFUL_GROUPS.contains(&name) {
        return Err(format!("group `{name}` gives power over the machine"));
    }
    let group = Group::from_name(name)
        .map_err(|errno| format!("look up group `{name}`: {errno}"))?
        .ok_or_else(|| format!("there is no group `{name}`"))?;
    if group.gid.as_raw() == 0 {
        return Err(format!("group `{name}` gives power over the machine"));
    }
    Ok(group.gid)
}

/// The primary group of the client, to give its files back to.
pub(super) fn client_group(client_uid: u32) -> Gid {
    match User::from_uid(Uid::from_raw(client_uid)) {
        Ok(Some(user)) => user.gid,
        Ok(None) | Err(_) => Gid::from_raw(client_uid),
    }
}

impl SlotUser {
    /// The name as text.
    pub(crate) fn display_name(&self) -> String {
        std::ffi::OsStr::from_bytes(&self.name)
            .to_string_lossy()
            .into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_refused(pool: Pool, groups: &[&str], expected: &str) {
        let users = Users {
            pool,
            groups: groups.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(resolve(&users, 4242).unwrap_err(), expected);
    }

    #[test]
    fn users_that_would_not_isolate_are_refused() {
        if !geteuid().is_root() {
            crate::skipped("only root may have users");
            return;
        }
        let named =
            |names: &[&str]| Pool::Named(names.iter().map(|name| (*name).to_owned()).collect());
        let range = |first, count| Pool::Range { first, count };
        check_refused(named(&["root"]), &[], "user `root` has the rights of root");
        check_refused(
            named(&["no such user"]),
            &[],
            "there is no user `no such user`",
        );
        check_refused(
            named(&["nobody", "nobody"]),
            &[],
            "user `nobody` is named twice",
        );
        check_refused(named(&[]), &[], "the pool of users is empty");
        check_refused(range(0, 2), &[], "user `root` has the rights of root");
        check_refused(range(4241, 2), &[], "user `4242` is the client's own");
        check_refused(
            range(4, 1),
            &[],
            "user `sync` is in group `adm`, which gives power over the machine",
        );
        check_refused(
            range(u32::MAX - 3, 3),
            &[],
            "the range of users goes beyond the last id",
        );
        check_refused(
            range(61_000, 1),
            &["docker"],
            "group `docker` gives power over the machine",
        );
    }

    #[test]
    fn range_gives_each_slot_a_user_and_a_group_of_its_own() {
        if !geteuid().is_root() {
            crate::skipped("only root may have users");
            return;
        }
        let users = Users {
            pool: Pool::Range {
                first: 61_000,
                count: 2,
            },
            groups: Vec::new(),
        };
        let pool = resolve(&users, 4242).unwrap();
        let ids: Vec<_> = pool
            .iter()
            .map(|user| (user.uid.as_raw(), user.gid.as_raw()))
            .collect();
        assert_eq!(ids, [(61_000, 61_000), (61_001, 61_001)]);
        assert_eq!(pool[1].name, b"61001");
        assert_eq!(pool[1].groups, [Gid::from_raw(61_001)]);
    }
}
