//! helix: the command line of Helix for people.
