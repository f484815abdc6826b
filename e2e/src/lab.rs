//! A whole lab: control plane, machines, and a host outside of the cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::api_server;
use crate::artifacts::{self, Artifacts};
use crate::control_plane::ControlPlane;
use crate::kubernetes::Kubernetes;
use crate::machine::{Machine, Parts};
use crate::network::{self, Switch};
use crate::pki::Pki;
use crate::place::Place;
use crate::runtime::Containerd;
use crate::say::{say, timed};
use crate::traces::{Logs, Trace, Traces, Whose};
use crate::{api, cgroup, host, image, signals, traces};

/// Number of the host outside on the switch.
pub const OUTSIDE: u8 = 9;

/// Number of the first machine; the others follow.
const FIRST_MACHINE: u8 = 11;

/// The file of its image in a lab's folder.
const IMAGE: &str = "probe.tar";

const PATIENCE: Duration = Duration::from_mins(1);

/// A running lab; it ends with this.
#[derive(Debug)]
pub struct Lab {
    pub control_plane: ControlPlane,
    pub machines: Vec<Machine>,
    /// On the nodes' link, without a route to pods: what it sees is what the world sees.
    pub outside: Place,
    pub switch: Switch,
    pub traces: Traces,
    pub artifacts: Artifacts,
}

/// Where labs have their folders.
pub fn base() -> PathBuf {
    artifacts::target().join("lab")
}

/// Ends what earlier labs left, and opens the list of traces of a new one.
pub fn begin() -> Result<Traces> {
    let lost = traces::sweep(&base(), Whose::Lost)?;
    if lost > 0 {
        say(format_args!("  cleaned up behind {lost} lab(s) that did not end properly"));
    }
    let traces = Traces::new(&base())?;
    signals::end_lab_when_asked(&traces)?;
    Ok(traces)
}

/// Does `work` with a new lab, and ends the lab if it fails.
pub fn with<T>(work: impl FnOnce(&mut Lab) -> Result<T>) -> Result<(Lab, T)> {
    let traces = begin()?;
    let result = Lab::up(&traces).and_then(|mut lab| {
        let done = work(&mut lab)?;
        Ok((lab, done))
    });
    if result.is_err() {
        say(format_args!("logs: {}", traces.log("*").display()));
        traces.end(Logs::Keep)?;
    }
    result
}

impl Lab {
    /// Builds and starts everything, down to agents that have their Nodes Ready.
    pub fn up(traces: &Traces) -> Result<Self> {
        Self::of(traces, [Containerd::Installed; 2])
    }

    /// The same with a machine for each of `containerds`.
    pub fn of(traces: &Traces, containerds: [Containerd; 2]) -> Result<Self> {
        let mut lab = Self::bare(traces, containerds)?;
        timed("kube-proxies, controller and agents", || {
            lab.control_plane.start_controller()?;
            lab.machines.iter_mut().try_for_each(|machine| {
                machine.start_proxy()?;
                machine.start_agent()
            })
        })?;
        timed("Nodes Ready", || lab.wait_for_nodes())?;
        Ok(lab)
    }

    /// Kubernetes without a network, without kube-proxy and without anything of kubenet: who installs
    /// that finds Nodes that are not Ready.
    pub fn bare(traces: &Traces, containerds: [Containerd; 2]) -> Result<Self> {
        say("the lab");
        host::prepare(traces)?;
        cgroup::open(traces, &traces.name())?;
        let kubernetes = Kubernetes::find_or_build(traces)?;
        let runtimes = containerds.map(|containerd| containerd.find(traces));
        let artifacts = artifacts::build(traces)?;
        let image = traces.folder().join(IMAGE);
        image::write(&image, &artifacts.probe)?;
        let pki = Pki::new(&traces.folder().join("pki"), &api_server::url())?;
        let switch = Switch::open(traces, &artifacts.probe)?;
        let parts = Parts {
            traces,
            switch: &switch,
            pki: &pki,
            kubernetes: &kubernetes,
            artifacts: &artifacts,
            image: &image,
        };
        let mut machines = timed("machines with containerd", || {
            let machines = (FIRST_MACHINE..).zip(runtimes);
            let machines = machines.map(|(number, runtime)| Machine::open(parts, number, runtime?));
            machines.collect::<Result<Vec<_>>>()
        })?;
        let control_plane = timed("control plane", || {
            ControlPlane::start(traces, &switch, &pki, &kubernetes, &artifacts)
        })?;
        timed("kubelets", || {
            machines.iter_mut().try_for_each(|machine| {
                machine.import(&image)?;
                machine.join(parts)
            })
        })?;
        let outside = outside(traces, &switch, &artifacts.probe)?;
        let traces = traces.clone();
        Ok(Self { control_plane, machines, outside, switch, traces, artifacts })
    }

    /// One more machine, with this number, whose kubelet knows no API server.
    pub fn alone(&self, number: u8, containerd: Containerd) -> Result<Machine> {
        let traces = &self.traces;
        let kubernetes = Kubernetes::find_or_build(traces)?;
        let image = traces.folder().join(IMAGE);
        // Nobody gets to see its certificates.
        let pki = Pki::new(&traces.folder().join("pki-alone"), &api_server::url())?;
        let parts = Parts {
            traces,
            switch: &self.switch,
            pki: &pki,
            kubernetes: &kubernetes,
            artifacts: &self.artifacts,
            image: &image,
        };
        let machine = Machine::open(parts, number, containerd.find(traces)?)?;
        machine.import(&image)?;
        machine.stand_alone(parts)?;
        Ok(machine)
    }

    /// Waits until each machine's Node has been Ready.
    pub fn wait_for_nodes(&self) -> Result<()> {
        self.control_plane.api.observer.wait("all Nodes are Ready", PATIENCE, |cluster| {
            let ready = |machine: &Machine| {
                cluster.nodes.get(machine.name()).is_some_and(|node| node.at(api::READY).is_some())
            };
            self.machines.iter().all(ready).then_some(())
        })
    }

    /// Ends it all, and says if something would not end.
    pub fn down(self, logs: Logs) -> Result<()> {
        let traces = self.traces.clone();
        drop(self);
        traces.end(logs)
    }

    /// Leaves it running when this process ends.
    pub fn keep(self) -> Result<()> {
        self.traces.note(&Trace::Kept)?;
        self.switch.keep()?;
        self.outside.keep()?;
        self.control_plane.api.place.keep()?;
        self.machines.into_iter().try_for_each(|machine| machine.place.keep())
    }
}

/// The host outside, with its server.
pub fn outside(traces: &Traces, switch: &Switch, probe: &Path) -> Result<Place> {
    let place = Place::open(traces, "outside", probe)?;
    switch.plug(&place, OUTSIDE)?;
    place.start("probe", place.command(probe).arg("serve"))?;
    Ok(place)
}

/// Addresses of the host outside.
pub fn outside_addresses() -> common::PerFamily<std::net::IpAddr> {
    network::addresses(OUTSIDE)
}
