//! Names of .NET assemblies.

/// The name of an assembly without its directory, which may be of any system, and without `.dll` or `.exe`.
pub(crate) fn assembly_name(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let stem = match name.rsplit_once('.') {
        Some((stem, end)) if end.eq_ignore_ascii_case("dll") || end.eq_ignore_ascii_case("exe") => {
            stem
        }
        _ => name,
    };
    if stem.is_empty() { path } else { stem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_names_of_assemblies_lose_directory_and_suffix() {
        for (path, expected) in [
            ("/home/a/My.Tests.dll", "My.Tests"),
            (r"C:\src\bin\My.Tests.DLL", "My.Tests"),
            ("My.Tests", "My.Tests"),
            ("tool.exe", "tool"),
            ("/only/directory/", "/only/directory/"),
            ("", ""),
        ] {
            assert_eq!(assembly_name(path), expected);
        }
    }
}
