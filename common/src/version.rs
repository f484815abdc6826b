//! What `--version` of each program tells: version, and commit and date of its build.

use std::sync::LazyLock;

/// The version, as in `0.1.0 (4400e7ac2fb1 2026-11-25)`.
///
/// Commit and date are what `KUBENET_COMMIT` and `KUBENET_DATE` said when this was compiled; a
/// build by hand has neither.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let version = env!("CARGO_PKG_VERSION");
        match (option_env!("KUBENET_COMMIT"), option_env!("KUBENET_DATE")) {
            (Some(commit), Some(date)) => format!("{version} ({commit} {date})"),
            _ => version.to_owned(),
        }
    });
    &VERSION
}
