//! Indented points, put into the order of parents before children.

use crate::formats::tap::outcome_of;
use crate::formats::tap_line::{self, Group, Point};
use crate::model::{Evidence, Part};
use crate::session::Session;
use crate::text::Text;

/// Levels that are told apart; what is deeper counts as the last of them.
const MOST_LEVELS: usize = 3;

/// The parts of the next point, or of the last one if that has opened a group.
#[derive(Default)]
pub(crate) struct Parts {
    list: Vec<Part>,
    /// Where the parts begin that have no parent yet, for a parent on each level.
    loose_from: [usize; MOST_LEVELS + 1],
    owner: Owner,
    last: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Owner {
    #[default]
    Next,
    Last,
}

impl Parts {
    pub(crate) fn point(&mut self, level: usize, point: &Point<'_>, session: &mut Session<'_>) {
        let level = level.clamp(1, MOST_LEVELS);
        let (outcome, reason) = outcome_of(point);
        let part = Part {
            level: u8::try_from(level).unwrap_or(u8::MAX),
            name: session.plain_name(tap_line::unescape(point.description).as_bytes()),
            outcome,
            duration: point.duration,
            started: None,
            evidence: Evidence {
                message: Text::from(tap_line::unescape(reason)),
                ..Evidence::default()
            },
        };
        // Its children stand before it, unless it opens a group for them.
        let children = match point.group {
            Group::None => self.loose_from[level].min(self.list.len()),
            Group::Opens => self.list.len(),
        };
        let before = self.list.len();
        session.push_entry(&mut self.list, part);
        if self.list.len() > before {
            self.list[children..].rotate_right(1);
            self.last = Some(children);
        } else {
            self.last = None;
        }
        for loose_from in &mut self.loose_from[level..] {
            *loose_from = self.list.len();
        }
    }

    /// The group of a point on the level above `level` has ended: what it holds has its parent.
    pub(crate) fn group_ended(&mut self, level: usize) {
        for loose_from in &mut self.loose_from[level.saturating_sub(1).min(MOST_LEVELS)..] {
            *loose_from = self.list.len();
        }
    }

    /// The point that was just read opens a group: what follows belongs to it.
    pub(crate) fn group_begins(&mut self) {
        self.owner = Owner::Last;
    }

    pub(crate) fn belong_to_last(&self) -> bool {
        self.owner == Owner::Last
    }

    /// The part that was read last, if nothing was read behind it on the outer level.
    pub(crate) fn last(&mut self) -> Option<&mut Part> {
        self.list.get_mut(self.last?)
    }

    pub(crate) fn take(&mut self) -> Vec<Part> {
        self.owner = Owner::Next;
        self.last = None;
        self.loose_from = [0; MOST_LEVELS + 1];
        std::mem::take(&mut self.list)
    }

    pub(crate) fn put_back(&mut self, list: Vec<Part>) {
        self.list = list;
    }
}
