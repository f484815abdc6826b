//! nft in a namespace of its own, and programs that misbehave in its stead.

use super::*;
use crate::testing::Machine;

const TABLE: &str = "table inet t {
\tset s {
\t\ttype ipv4_addr
\t\telements = { 10.0.0.1 }
\t}
}
";

#[test]
fn what_is_applied_is_listed() {
    let machine = Machine::new();
    let inside = || {
        assert_eq!(list("t").unwrap(), None);
        assert_eq!(list_terse("t").unwrap(), None);
        apply(TABLE).unwrap();
        assert_eq!(list("t").unwrap().unwrap(), TABLE);
        let terse = list_terse("t").unwrap().unwrap();
        assert!(terse.contains("set s") && !terse.contains("10.0.0.1"), "{terse}");
    };
    machine.netns.run(inside).unwrap();
}

#[test]
fn a_refusal_is_in_the_words_of_nft_and_changes_nothing() {
    let machine = Machine::new();
    let inside = || {
        let error = apply(&format!("{TABLE}\nadd rule inet t nowhere accept\n")).unwrap_err();
        let NftError::Refused { stderr } = &error else { panic!("{error:?}") };
        assert!(stderr.contains("nowhere"), "{stderr}");
        assert!(error.to_string().starts_with("nft refused: /dev/stdin:"), "{error}");
        assert_eq!(list("t").unwrap(), None);
    };
    machine.netns.run(inside).unwrap();
}

#[test]
fn a_text_longer_than_a_pipe_is_applied() {
    let machine = Machine::new();
    let elements = (0..20_000_u32).map(|n| format!("10.{}.{}.1", n / 256, n % 256));
    let elements = elements.collect::<Vec<_>>().join(", ");
    let text = TABLE.replace("10.0.0.1", &elements);
    machine.netns.run(|| apply(&text).unwrap()).unwrap();
    let listed = machine.netns.run(|| list("t").unwrap().unwrap()).unwrap();
    assert_eq!(listed.matches(',').count(), 19_999);
}

#[test]
fn counters_do_not_change_what_is_listed() {
    let mut machine = Machine::new();
    let text = "table inet t {\n\tchain c {\n\t\ttype filter hook output priority filter; policy accept;\n\t\tcounter\n\t}\n}\n";
    machine.netns.run(|| apply(text).unwrap()).unwrap();
    let before = machine.netns.run(|| list("t").unwrap()).unwrap();
    let up = crate::link::LinkChange { up: Some(true), ..Default::default() };
    machine.netlink.set_link(1, &up).unwrap();
    let send = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", "127.0.0.1:9");
    machine.netns.run(send).unwrap().unwrap();
    assert!(!machine.run("nft list table inet t").contains("packets 0"));
    assert_eq!(machine.netns.run(|| list("t").unwrap()).unwrap(), before);
}
