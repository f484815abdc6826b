//! Who reaches what, by tables.

use super::*;

use common::Family;

use crate::view::addresses;

fn server(name: &str, texts: &[&str], port: u16) -> Server {
    Server { name: name.to_owned(), addresses: addresses(texts.iter().copied()), port }
}

fn machine(number: u8) -> Machine {
    let pod = |role: &str, last: u8| {
        let [v4, v6] = [format!("10.0.{number}.{last}"), format!("fd00:{number}::{last}")];
        server(&format!("{role}-{number}"), &[&v4, &v6], 8080)
    };
    let host = server(&format!("host-{number}"), &[&format!("192.0.2.{number}")], 18081);
    Machine { name: format!("n{number}"), client: pod("client", 2), server: pod("server", 3), host }
}

fn view(machines: u8) -> View {
    View {
        machines: (1..=machines).map(machine).collect(),
        service: addresses(["10.96.0.1", "fd00:96::1"].into_iter()),
        local_service: addresses(["10.96.0.2"].into_iter()),
        host_port: 18080,
        outside: vec!["198.51.100.1:443".parse().unwrap()],
    }
}

fn find<'a>(checks: &'a [Check], machine: &str, what: &str) -> &'a Check {
    let mut found = checks.iter().filter(|check| check.machine == machine && check.what == what);
    found.next().unwrap_or_else(|| panic!("no {what:?} from {machine}"))
}

#[test]
fn nobody_is_asked_by_a_family_that_pods_lack() {
    let mut view = view(2);
    for machine in &mut view.machines {
        machine.host.addresses.v6 = Some("2001:db8::1".parse().unwrap());
        machine.client.addresses.v6 = None;
        machine.server.addresses.v6 = None;
    }
    for check in checks(&view, usize::MAX) {
        assert_eq!(check.targets.v6, None, "{}", check.what);
    }
}

#[test]
fn one_machine_has_no_others_to_reach() {
    let checks = checks(&view(1), usize::MAX);
    assert_eq!(checks.len(), 8);
    assert!(checks.iter().all(|check| !check.what.contains("n1")));
}

#[test]
fn each_machine_goes_to_as_many_others_as_it_is_told() {
    for (machines, peers, each) in [(2, 4, 1), (5, 4, 4), (6, 2, 2), (3, usize::MAX, 2)] {
        let checks = checks(&view(machines), peers);
        assert_eq!(checks.len(), usize::from(machines) * (8 + 7 * each), "{machines} {peers}");
    }
}

#[test]
fn every_check_knows_whom_it_asks_and_who_must_answer() {
    let checks = checks(&view(2), 4);
    let pod = find(&checks, "n1", "pod on n2");
    assert_eq!(pod.asker, Some("10.0.1.2:8080".parse().unwrap()));
    assert_eq!(pod.targets.v6, Some("[fd00:2::3]:8080".parse().unwrap()));
    assert_eq!(pod.answers, ["server-2"]);
    assert_eq!(pod.seen.v4, ["10.0.1.2".parse::<IpAddr>().unwrap()]);
    let hairpin = find(&checks, "n2", "its own Service (hairpin)");
    assert_eq!(hairpin.asker, Some("10.0.2.3:8080".parse().unwrap()));
    assert_eq!(hairpin.targets.v4, Some("10.96.0.2:80".parse().unwrap()));
    assert_eq!(hairpin.targets.v6, None);
    let outside = find(&checks, "n1", "198.51.100.1:443");
    assert_eq!((outside.question, outside.targets.v6), (Question::Connect, None));
    let machine = find(&checks, "n1", "the machine n2");
    assert_eq!(machine.seen.v4.len(), 2, "as itself, or masqueraded as its machine");
}

#[test]
fn an_answer_by_another_or_to_another_is_wrong() {
    let checks = checks(&view(2), 4);
    let pod = find(&checks, "n1", "pod on n2");
    let answer = |name: &str, seen: &str| Answer {
        name: name.to_owned(),
        seen: seen.parse().unwrap(),
        time: Duration::from_millis(1),
    };
    let judged =
        |name, seen| pod.judge(Family::V4, &answer(name, seen)).map_err(|wrong| wrong.to_string());
    assert_eq!(judged("server-2", "10.0.1.2"), Ok(Duration::from_millis(1)));
    assert_eq!(judged("server-1", "10.0.1.2"), Err("server-1 answered, not server-2".to_owned()));
    let seen = "the asker was seen as 192.0.2.1, not as 10.0.1.2";
    assert_eq!(judged("server-2", "192.0.2.1"), Err(seen.to_owned()));
}
