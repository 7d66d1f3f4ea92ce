//! What a browser is told that a file is, by its extension.

/// The content type for a file name. Text says that it is UTF-8, which is what logs and reports
/// are; whatever is not known is bytes.
///
/// HTML is served as text on purpose: an uploaded page must not run its scripts under the
/// address of the store, beside everybody else's files. So is SVG, which can carry scripts.
pub(crate) fn of(file_name: &str) -> &'static str {
    let extension = file_name
        .rsplit_once('.')
        .map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "txt" | "log" | "out" | "err" | "md" | "csv" | "tsv" | "ini" | "cfg" | "conf" | "toml"
        | "yaml" | "yml" | "sh" | "py" | "rs" | "cs" | "c" | "h" | "cpp" | "js" | "html"
        | "htm" | "xhtml" | "svg" | "css" | "diff" | "patch" | "map" => "text/plain; charset=utf-8",
        // Reports are XML whatever they are called, and declare their own encoding.
        "xml" | "trx" | "coverage" | "nunit" => "application/xml",
        "json" | "binlogjson" | "har" => "application/json",
        "jsonl" | "ndjson" => "application/x-ndjson",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        "pdf" => "application/pdf",
        "zip" | "nupkg" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "zst" => "application/zstd",
        "tar" => "application/x-tar",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn the_extension_decides_without_regard_to_case() {
        assert_eq!(of("console.0a1b.log"), "text/plain; charset=utf-8");
        assert_eq!(of("Results.TRX"), "application/xml");
        assert_eq!(of("a.json"), "application/json");
        assert_eq!(of("core.1234"), "application/octet-stream");
        assert_eq!(of("README"), "application/octet-stream");
    }

    #[test]
    fn pages_that_could_run_scripts_are_text() {
        for name in ["index.html", "a.HTM", "logo.svg", "x.xhtml"] {
            assert_eq!(of(name), "text/plain; charset=utf-8");
        }
    }
}
