//! A day without an API server: the clock is tokio's, which jumps to whatever is waited for next.

use futures::FutureExt;
use kube::{Client, Config};
use process::contact::Contact;

use super::*;
use crate::nodes;
use crate::ranges;

const DAY: Duration = Duration::from_hours(24);

/// Between two tries a watch waits half a minute, and up to as long again by chance.
const LONGEST_PAUSE: u32 = 60;
const SHORTEST_PAUSE: u32 = 30;

/// All of an agent but its door and its HTTP server, on `lab`, with a `client` that nobody answers;
/// beside `scenario`, which is given what the outside sees of it.
async fn with_agent<F: Future<Output = ()>>(
    lab: &Lab,
    scenario: impl FnOnce(Verdicts, process::ready::Readiness, Registry) -> F,
) {
    let client = Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let mut registry = Registry::default();
    let contact = Contact::counted(&mut registry);
    let outage = contact.outage();
    let readiness = health::checks();
    let (latest, nodes) = watch::channel(Some(lab.nodes.clone()));
    let (extend, ranges) = watch::channel(Ranges::default());
    let (judge, verdicts) = watch::channel(None);
    let machine = Machine::open(lab.paths()).unwrap();
    let lock = AgentLock::take(&lab.paths()).await.unwrap();
    let worker = Worker::new(machine, lab.config.clone(), lock);
    let (events, _notes) = events::queue();
    let mut report = Report::new(Metrics::new(&mut registry), events, readiness.clone());
    let knocked = Notify::new();
    let cluster = Cluster { nodes: nodes.clone(), ranges };
    tokio::select! {
        ended = run(worker, cluster, judge, &mut report, &knocked) => panic!("{ended:?}"),
        () = nodes::follow(client.clone(), contact.clone(), "me".to_owned(), latest) => panic!("it ended"),
        () = ranges::follow(client, &contact, &extend) => panic!("it ended"),
        never = health::follow(&readiness, None, verdicts.clone(), nodes, outage) => match never {},
        () = scenario(verdicts, readiness.clone(), registry) => {}
    }
}

#[test]
fn a_day_without_an_api_server_changes_nothing_for_pods() {
    let lab = Lab::new();
    lab.inside(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(with_agent(&lab, async |mut verdicts, readiness, registry| {
            until(&mut verdicts, Ok(())).await;
            let mut machine = Machine::open(lab.paths()).unwrap();
            let _pod = crate::testing::lab::Pod::attach(&mut machine, "c1@eth0", "10.244.1.5");
            // What is new on the machine has been looked at by then.
            tokio::time::sleep(Duration::from_mins(1)).await;
            let before = format!("{:?}", machine.observe(&lab.config.mode).unwrap());
            let mut kernel = Kernel::subscribe().unwrap();
            tokio::time::sleep(DAY).await;
            let after = format!("{:?}", machine.observe(&lab.config.mode).unwrap());
            assert_eq!(before, after);
            assert!(kernel.changed().now_or_never().is_none(), "something changed meanwhile");
            let said = readiness.report(&[]);
            assert!(
                said.is_ready() && said.to_string().contains("[+]nodes ok: stale since 2"),
                "{said}"
            );
            let tries = tries(&registry);
            let seconds = u32::try_from(DAY.as_secs()).unwrap();
            assert!(tries > seconds / LONGEST_PAUSE && tries < seconds / SHORTEST_PAUSE, "{tries}");
        }));
    });
}

fn tries(registry: &Registry) -> u32 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let line = "kubenet_api_failures_total{kind=\"nodes\",code=\"0\"} ";
    text.lines().find_map(|text| text.strip_prefix(line)).unwrap().parse().unwrap()
}
