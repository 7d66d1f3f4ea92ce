//! The version of this build.

/// The version that programs show and report: that of the package, and the revision it was built
/// from where that is known, such as `0.1.0 (86b5d78c01f2)`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("HELIX_VERSION_SUFFIX"));

#[cfg(test)]
mod tests {
    use super::VERSION;

    #[test]
    fn version_starts_with_that_of_the_package_and_is_one_line() {
        assert!(VERSION.starts_with(env!("CARGO_PKG_VERSION")), "{VERSION}");
        assert!(!VERSION.contains(['\n', '\r']), "{VERSION}");
    }
}
