//! What must be in place before a program does its work, as /readyz tells it.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::sync::Arc;

use parking_lot::Mutex;

/// Why a check failed, or what there is to add to one that passed.
type Checks = BTreeMap<&'static str, Result<String, String>>;

/// One check for each thing that must be in place; clones are the same checks.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<Checks>>);

/// What the checks said at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(Checks);

impl Readiness {
    /// Nothing is in place yet: each check with the reason.
    pub fn new(checks: &[(&'static str, &str)]) -> Self {
        let failed = checks.iter().map(|&(check, why)| (check, Err(why.to_owned())));
        Self(Arc::new(Mutex::new(failed.collect())))
    }

    /// What `check` asks for is in place.
    pub fn pass(&self, check: &'static str) {
        self.note(check, Ok(String::new()));
    }

    /// What `check` asks for is in place, with a `remark` for `?verbose`.
    pub fn pass_with(&self, check: &'static str, remark: impl Display) {
        self.note(check, Ok(remark.to_string()));
    }

    /// What `check` asks for is not, or no longer, in place.
    pub fn fail(&self, check: &'static str, why: impl Display) {
        self.note(check, Err(why.to_string()));
    }

    /// All checks but the `excluded`.
    pub fn report(&self, excluded: &[&str]) -> Report {
        let mut checks = self.0.lock().clone();
        checks.retain(|check, _| !excluded.contains(check));
        Report(checks)
    }

    fn note(&self, check: &'static str, result: Result<String, String>) {
        self.0.lock().insert(check, result);
    }
}

impl Report {
    pub fn is_ready(&self) -> bool {
        self.0.values().all(Result::is_ok)
    }
}

impl Display for Report {
    /// Line by line, as the API server answers `/readyz?verbose`, and why a check failed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (check, result) in &self.0 {
            match result {
                Ok(remark) if remark.is_empty() => writeln!(f, "[+]{check} ok")?,
                Ok(remark) => writeln!(f, "[+]{check} ok: {remark}")?,
                Err(why) => writeln!(f, "[-]{check} failed: {why}")?,
            }
        }
        f.write_str(if self.is_ready() { "readyz check passed" } else { "readyz check failed" })?;
        f.write_char('\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_all_checks_pass() {
        let readiness = Readiness::new(&[("nodes", "not listed"), ("lease", "held by b")]);
        readiness.clone().pass("nodes");
        let text = "[-]lease failed: held by b\n[+]nodes ok\nreadyz check failed\n";
        let report = readiness.report(&[]);
        assert_eq!((report.is_ready(), report.to_string().as_str()), (false, text));
        assert!(readiness.report(&["lease"]).is_ready());
        readiness.pass("lease");
        assert!(readiness.report(&[]).is_ready());
        readiness.pass_with("nodes", "stale since noon");
        let report = readiness.report(&[]);
        assert!(
            report.is_ready() && report.to_string().contains("[+]nodes ok: stale since noon\n")
        );
        readiness.fail("nodes", "too old");
        assert!(readiness.report(&[]).to_string().contains("[-]nodes failed: too old\n"));
    }
}
