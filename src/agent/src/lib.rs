//! The Helix worker agent: accepts work items, runs them, judges them.
