//! Log set-up and build version of the Helix programs.
