//! Reads the SDK version out of `global.json`.
