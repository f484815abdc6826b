//! What the table looks like.

use super::*;

use common::PerFamily;

use crate::matrix::Question;

fn check(machine: &str, what: &str) -> Check {
    Check {
        machine: machine.to_owned(),
        what: what.to_owned(),
        question: Question::Small,
        asker: None,
        targets: PerFamily::default(),
        answers: Vec::new(),
        seen: PerFamily::default(),
        patience: Duration::ZERO,
    }
}

#[test]
fn failures_stand_below_their_line_and_are_counted() {
    let took = || Cell::Took(Duration::from_micros(1234));
    let good = Outcome(PerFamily { v4: [took(), took()], v6: [Cell::Absent, Cell::Absent] });
    let failed = Cell::Failed("tcp to 10.0.0.1:80: refused".to_owned());
    let bad = Outcome(PerFamily { v4: [failed, took()], v6: [Cell::Absent, Cell::Absent] });
    let text = render(&[check("a", "pod on b"), check("b", "its machine")], &[good, bad]);
    let expected = "\
from a          IPv4 TCP   IPv4 UDP   IPv6 TCP   IPv6 UDP
  pod on b        1.2 ms     1.2 ms          -          -
from b          IPv4 TCP   IPv4 UDP   IPv6 TCP   IPv6 UDP
  its machine     FAILED     1.2 ms          -          -
    tcp to 10.0.0.1:80: refused
3 reached, 1 not
";
    assert_eq!(text, expected);
}
