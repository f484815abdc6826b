//! Several controllers that all believe to lead, in every order in which things can happen.
//!
//! With any number of faults, in each state each of these may be next: a Node is made, under a new
//! name or that of a gone one; a Node is deleted; a controller starts, lists, crashes; a watch
//! brings what has happened, or still does not; a request is carried out and answered, once or
//! twice; one that was sent at any time before, by whomever, is carried out without an answer; a
//! claim is made for any Node.
//!
//! `explorer` goes through whole worlds, of so many controllers. `pairs` goes through what one of them
//! can be like beside the server, however many others there are: far fewer states, which cover all
//! of those. `orbits` does the same without regard to which Node and which block is which. MODEL=all
//! adds what takes minutes.

mod explorer;
mod input;
mod orbits;
mod packed;
mod pairs;
mod picture;
mod replica;
mod rules;
mod world;

use std::collections::BTreeSet;
use std::time::Instant;

use self::explorer::{Explorer, Report};
use self::orbits::Orbits;
use self::pairs::Pairs;
use self::replica::sketched::Mould;
use self::rules::Rules;
use self::world::{Options, Server, World};

fn explore(what: &str, options: Options) -> Report {
    let report = Explorer::new(options).run();
    println!("{what}: {report}");
    report
}

#[track_caller]
fn holds(what: &str, options: Options) {
    assert!(explore(what, options).wrong.is_none(), "{what}");
}

/// The same for any number of controllers.
#[track_caller]
fn holds_however_many(what: &str, options: Options) {
    let report = Pairs::new(options).run();
    println!("any number of controllers, {what}: {report}");
    assert!(report.wrong.is_none(), "{what}");
}

/// The same, of states that differ in the numbers of Nodes and blocks one.
#[track_caller]
fn holds_whatever_the_numbers(what: &str, options: Options) {
    let report = Orbits::new(options).run();
    println!("any number of controllers, any numbers, {what}: {report}");
    assert!(report.wrong.is_none(), "{what}");
}

/// Something that was left out is missed: a block goes to two Nodes.
#[track_caller]
fn breaks(what: &str, options: Options) {
    let (wrong, _) = explore(what, options).wrong.expect("the checker finds nothing");
    assert!(wrong.contains("is held by Nodes"), "{wrong}");
    let report = Pairs::new(options).run();
    println!("{what}, any number of controllers: {report}");
    assert!(report.wrong.is_some());
}

pub(super) fn is_long() -> bool {
    std::env::var_os("MODEL").is_some_and(|which| which == "all")
}

#[test]
fn two_leaders_give_no_block_twice() {
    holds("2 controllers, 2 Nodes, 1 block", Options::new(2, 2, 1));
    holds("1 controller, 2 Nodes, 2 blocks", Options::new(1, 2, 2));
    if is_long() {
        holds("2 controllers, 3 Nodes, 1 block", Options::new(2, 3, 1));
    }
}

#[test]
fn however_many_leaders_give_no_block_twice() {
    holds_however_many("2 Nodes, 1 block", Options::new(1, 2, 1));
    holds_however_many("3 Nodes, 1 block", Options::new(1, 3, 1));
    if is_long() {
        holds_however_many("4 Nodes, 1 block", Options::new(1, 4, 1));
        holds_however_many("2 Nodes, 2 blocks", Options::new(1, 2, 2));
        holds_however_many("3 Nodes, 2 blocks", Options::new(1, 3, 2));
        holds_however_many("4 Nodes, 3 blocks, 0 faults", with_faults(1, 4, 3, 0));
    }
}

#[test]
fn however_many_leaders_give_no_block_twice_whatever_the_numbers() {
    holds_whatever_the_numbers("4 Nodes, 3 blocks, 0 faults", with_faults(1, 4, 3, 0));
    if is_long() {
        holds_whatever_the_numbers("2 Nodes, 2 blocks", Options::new(1, 2, 2));
        holds_whatever_the_numbers("3 Nodes, 2 blocks", Options::new(1, 3, 2));
    }
}

/// `MODEL=4,3,1`: so many Nodes, blocks and faults, or any number of faults without the third.
#[test]
fn the_size_that_was_asked_for_holds() {
    let size = std::env::var("MODEL").unwrap_or_default();
    let numbers = size.split(',').filter_map(|number| number.parse().ok()).collect::<Vec<_>>();
    let options = match numbers[..] {
        [nodes, blocks] => Options::new(1, nodes, blocks),
        [nodes, blocks, faults] => with_faults(1, nodes, blocks, faults),
        _ => return,
    };
    holds_whatever_the_numbers(&size, options);
}

/// What lets `pairs` stand for whole worlds.
#[test]
fn each_controller_of_each_world_is_known_beside_its_server() {
    for options in [Options::new(2, 2, 1), Options::new(3, 1, 1), with_faults(2, 2, 1, 2)] {
        let mut pairs = Pairs::new(options);
        assert!(pairs.run().wrong.is_none());
        let look = |rules: &Rules, world: &World, _| {
            (!pairs.knows(rules, world)).then(|| "not known beside its server".to_owned())
        };
        let report = Explorer::new(options).look(look);
        assert!(report.wrong.is_none(), "{report}");
    }
}

/// What lets `orbits` stand for what has numbers.
#[test]
fn each_state_is_known_under_other_numbers() {
    let mut all = vec![Options::new(1, 2, 1), Options::new(1, 3, 1), with_faults(1, 3, 1, 1)];
    if is_long() {
        all.extend([with_faults(1, 2, 2, 1), Options::new(1, 2, 2)]);
    }
    for options in all {
        let (mut pairs, mut orbits) = (Pairs::new(options), Orbits::new(options));
        assert!(pairs.run().wrong.is_none() && orbits.run().wrong.is_none());
        for (world, replica) in pairs.each() {
            assert!(orbits.knows(world, replica.sketch()), "{world:?} {}", replica.picture());
        }
    }
}

/// What lets a replica be put together from a sketch.
#[test]
fn a_sketch_says_all_that_decides() {
    for options in [Options::new(1, 3, 1), with_faults(1, 2, 2, 0)] {
        let mould = Mould::new(options, Instant::now());
        let mut pairs = Pairs::new(options);
        pairs.run();
        for (_, replica) in pairs.each() {
            assert_eq!(mould.cast(replica.sketch()).knowledge(), replica.knowledge());
        }
    }
}

/// What lets an event happen in one order alone where nothing is given.
#[test]
fn order_makes_no_difference_where_nothing_is_given() {
    for options in [Options::new(1, 3, 1), with_faults(1, 2, 2, 0)] {
        let (mut some, mut all) = (Orbits::new(options), Orbits::thorough(options));
        let (some, all) = (some.run(), all.run());
        assert_eq!((some.pairs, some.numbered), (all.pairs, all.numbered));
    }
}

/// What lets a name be used once where no name can matter.
#[test]
fn names_that_come_again_make_no_difference_to_where_it_ends() {
    let ends = |names| {
        let mut ends = BTreeSet::new();
        let options = Options { names, ..Options::new(2, 2, 1) };
        let look = |_: &Rules, world: &World, rests| {
            let nodes = world.nodes.map(|node| node.map(|node| (node.block, node.gone)));
            let claims = world.claims.map(|claim| claim.map(|(holder, _)| holder));
            if rests {
                ends.insert((nodes, claims));
            }
            None
        };
        Explorer::new(options).look(look);
        ends
    };
    assert_eq!(ends(false), ends(true));
}

#[test]
fn what_nodes_have_without_a_claim_is_given_to_nobody_else() {
    let options = Options { unclaimed: true, ..Options::new(2, 2, 1) };
    holds("2 controllers, 2 Nodes, 1 block that is held without a claim", options);
}

#[test]
fn at_most_so_many_faults_give_no_block_twice() {
    holds("2 controllers, 2 Nodes, 2 blocks, 1 fault", with_faults(2, 2, 2, 1));
    if is_long() {
        holds("3 controllers, 4 Nodes, 3 blocks, 0 faults", with_faults(3, 4, 3, 0));
    }
}

#[test]
fn answers_and_events_may_be_late() {
    let options = Options { fine: true, ..Options::new(1, 1, 1) };
    holds("1 controller, 1 Node, 1 block, late answers", options);
}

#[test]
fn a_block_goes_to_the_successor_of_the_same_name_and_to_nobody_else() {
    let options = Options { delay: 1, ..Options::new(1, 2, 1) };
    holds("1 controller, 2 Nodes, 1 block, release delay", options);
    if is_long() {
        let options = Options { delay: 1, ..Options::new(2, 2, 1) };
        holds("2 controllers, 2 Nodes, 1 block, release delay", options);
    }
}

#[test]
fn without_the_fence_two_leaders_give_a_block_twice() {
    breaks("no fence", Options { fence: false, ..Options::new(2, 3, 2) });
}

#[test]
fn without_stickiness_one_leader_gives_a_block_twice() {
    let options = Options { fence: false, ..Options::new(1, 2, 2) };
    holds("1 controller without the fence", options);
    breaks("no stickiness", Options { forgetful: true, ..options });
}

#[test]
fn a_holder_that_was_not_seen_is_not_gone() {
    let options = Options::new(2, 2, 1);
    let options = Options { server: Server { looks: false, ..options.server }, ..options };
    breaks("no look", options);
    assert!(Orbits::new(options).run().wrong.is_some());
}

#[test]
fn a_claim_is_deleted_only_as_it_was_seen() {
    let options = Options { delay: 1, ..Options::new(1, 3, 1) };
    let server = Server { version: false, ..options.server };
    breaks("no version", Options { server, ..options });
}

#[test]
fn a_late_patch_never_lands_on_a_successor_of_the_same_name() {
    let options = Options::new(1, 3, 1);
    let server = Server { uid_of_node: false, ..options.server };
    breaks("no UID of the Node", Options { server, ..options });
}

fn with_faults(replicas: u8, nodes: u8, blocks: u8, faults: u8) -> Options {
    Options { faults: Some(faults), ..Options::new(replicas, nodes, blocks) }
}
