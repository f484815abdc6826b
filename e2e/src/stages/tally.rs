//! What a stage's own words say of it: how much passed, and what failed.

/// How many tests and other checks passed, and which failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: Vec<String>,
}

impl Tally {
    /// Of a stage that is one check.
    pub(super) fn of_one(stage: &str, good: bool) -> Self {
        let failed = if good { Vec::new() } else { vec![stage.to_owned()] };
        Self { passed: usize::from(good), failed }
    }

    /// The sum of all `test result: ok. 5 passed; 0 failed; …`, and the names of `test … ... FAILED`.
    ///
    /// What does not compile or dies has no result of its own, and none at all is one: the stage's.
    pub(super) fn of_tests(stage: &str, success: bool, text: &str) -> Self {
        let passed = results(text, "passed");
        let tests = text.lines().filter_map(|line| line.strip_prefix("test "));
        let failed = tests.filter_map(|test| test.split_once(" ... FAILED"));
        let mut failed = failed.map(|(name, _)| format!("{stage}: {name}")).collect::<Vec<_>>();
        let nothing = passed == 0 && failed.is_empty();
        let least = results(text, "failed").max(usize::from(!success || nothing));
        failed.resize(failed.len().max(least), stage.to_owned());
        Self { passed, failed }
    }
}

/// The sum of the numbers before `what` in all results of libtest.
fn results(text: &str, what: &str) -> usize {
    let results = text.lines().filter(|line| line.starts_with("test result: "));
    let numbers = results.filter_map(|line| {
        let words = line.split([' ', ';']).collect::<Vec<_>>();
        let place = words.iter().position(|word| *word == what)?;
        words.get(place.checked_sub(1)?)?.parse::<usize>().ok()
    });
    numbers.sum()
}

/// What libtest, or a compiler, says of failures: the end of it if there is no more to tell by.
pub(super) fn failures(text: &str) -> String {
    let lines = text.lines().collect::<Vec<_>>();
    let start = lines.iter().position(|line| *line == "failures:" || line.starts_with("error"));
    let start = start.unwrap_or_else(|| lines.len().saturating_sub(40));
    lines[start..].iter().take(120).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: usize, failed: &[&str]) -> Tally {
        Tally { passed, failed: failed.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn results_of_all_test_programs_are_summed_and_what_failed_has_its_name() {
        let text = "running 2 tests\n\
            test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
            test one::is_told ... FAILED\n\
            test a_claim ... FAILED (2.0 s)\n\
            test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let failed = ["labs: one::is_told", "labs: a_claim", "labs"];
        assert_eq!(Tally::of_tests("labs", false, text), tally(6, &failed));
    }

    #[test]
    fn a_stage_that_ran_no_test_fails() {
        let of = |success, text| Tally::of_tests("labs", success, text);
        assert_eq!(of(true, ""), tally(0, &["labs"]));
        assert_eq!(of(false, "error: could not compile"), tally(0, &["labs"]));
        let text = "test result: ok. 5 passed; 0 failed;";
        assert_eq!(of(true, text), tally(5, &[]));
        assert_eq!(of(false, text), tally(5, &["labs"]));
    }
}
