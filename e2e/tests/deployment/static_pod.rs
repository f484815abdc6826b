//! A machine without an API server: the agent is a static pod, and so is what takes it away again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::Family;
use e2e::footprint::Footprint;
use e2e::lab;
use e2e::machine::Machine;
use e2e::network;
use e2e::runtime::Containerd;
use e2e::wait::eventually;
use e2e::workload::{HOST_PORT, Server};
use probe::PORT;
use probe::dial::{Answer, Protocol, dial, dial_from};
use probe::full::dial_full_from;

use crate::{PATIENCE, World, manifests};

/// Of the machine on the lab's switch.
const NUMBER: u8 = 13;

const WITHIN: Duration = Duration::from_secs(3);

/// The lab's server as a static pod, whose name takes the place of NAME.
const SERVER: &str = "apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: probe
      image: kubenet.test/probe:1
      imagePullPolicy: Never
      args: [serve]
      readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
";

/// What makes it reachable by its machine.
const HOST_PORTS: &str = "      ports:
        - {containerPort: 8080, hostPort: 8081, protocol: TCP}
        - {containerPort: 8080, hostPort: 8081, protocol: UDP}
";

pub(crate) fn there_and_back(world: &mut World) -> Result<()> {
    let machine = world.lab.alone(NUMBER, Containerd::Built)?;
    machine.import(&world.image)?;
    let before = Footprint::of_machine(&machine)?;
    machine.put("kubenet-agent", &manifests::text("kubenet-static-pod.yaml")?)?;
    machine.wait_for_pod("kubenet-agent", "Ready")?;
    machine.put("web", &(SERVER.replace("NAME", "web") + HOST_PORTS))?;
    machine.put("echo", &SERVER.replace("NAME", "echo"))?;
    let [web, echo] = ["web", "echo"].map(|name| machine.wait_for_pod(name, "Ready"));
    let (web, echo) = (web?, echo?);
    for family in Family::BOTH {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            ask(world, &machine, [&web, &echo], family, protocol)
                .with_context(|| format!("by {family} and {protocol}"))?;
        }
    }
    machine.take("web")?;
    machine.take("echo")?;
    machine.put("kubenet-cleanup", &manifests::text("kubenet-static-cleanup.yaml")?)?;
    machine.wait_for_pod("kubenet-cleanup", "Ready")?;
    machine.take("kubenet-agent")?;
    machine.take("kubenet-cleanup")?;
    let mut difference = Vec::new();
    let same = eventually("nothing is left", PATIENCE, || {
        difference = before.difference(&Footprint::of_machine(&machine)?);
        Ok(difference.is_empty().then_some(()))
    });
    same.map_err(|error| error.context(difference.join("\n")))
}

/// Of the connectivity checks those for which one machine is enough.
fn ask(
    world: &World,
    machine: &Machine,
    [web, echo]: [&Server; 2],
    family: Family,
    protocol: Protocol,
) -> Result<()> {
    let pod = |server: &Server| SocketAddr::new(server.addresses[family], PORT);
    let own = network::addresses(NUMBER)[family];
    let outside = lab::outside_addresses()[family];
    let (here, there) = (&machine.place.netns, &world.lab.outside.netns);
    let way_out = SocketAddr::new(outside, PORT);
    let host_port = SocketAddr::new(own, HOST_PORT);
    let neighbour = here.run(|| dial_full_from(pod(web), protocol, pod(echo), WITHIN))?;
    expect("a pod beside it, with full packets", neighbour, &echo.name, web.addresses[family])?;
    let out = here.run(|| dial_from(pod(web), protocol, way_out, WITHIN))?;
    expect("outside", out, &world.lab.outside.name, own)?;
    let entered = there.run(|| dial(protocol, host_port, WITHIN))?;
    expect("its host port", entered, &web.name, outside)
}

fn expect(what: &str, answer: io::Result<Answer>, name: &str, seen: IpAddr) -> Result<()> {
    let answer = answer.with_context(|| what.to_owned())?;
    ensure!(answer.name == name && answer.seen == seen, "{what}: {answer}, not {name} {seen}");
    Ok(())
}
