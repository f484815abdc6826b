//! Ranges that objects of the API server name.

use anyhow::{Result, ensure};
use e2e::network;
use e2e::solo::{self, Solo};
use e2e::wait::eventually;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::{PATIENCE, within_a_second};

/// One that comes and goes again; its second range is among the pods' own.
const NAME: &str = "more";
// nft prints neighbours as one range.
const RANGES: [&str; 2] = ["10.100.0.0/16", "fd00:10:244:60::/64"];

pub(crate) fn service_cidr(solo: &mut Solo) -> Result<()> {
    // The API server makes one of its flag, some time after its start.
    eventually("what goes to Services is not masqueraded", PATIENCE, || {
        let table = solo.table()?;
        let made = network::SERVICE_CIDRS.split(',').all(|range| table.contains(range));
        Ok(made.then_some(()))
    })?;
    let of_pods = "fd00:10:244:60::/64";
    solo.api.observer.create_nodes(vec![solo::peer(60, &["10.244.60.0/24", of_pods])])?;
    within_a_second("a peer has its routes", || solo.route(of_pods))?;

    create(solo)?;
    within_a_second("what goes to a new ServiceCIDR is not masqueraded", || {
        Ok(solo.table()?.contains(RANGES[0]).then_some(()))
    })?;
    within_a_second("a podCIDR among Services has no route", || {
        Ok(solo.route(of_pods)?.is_none().then_some(()))
    })?;
    ensure!(solo.route("10.244.60.0/24")?.is_some(), "the Node's other podCIDR has no route");
    let said = solo.ask_agent("/readyz?verbose")?;
    ensure!(said.contains("it overlaps fd00:10:244:60::/64, which is Services'"), "{said}");

    delete(solo)?;
    within_a_second("a ServiceCIDR that is gone counts no more", || {
        let masqueraded = !solo.table()?.contains(RANGES[0]);
        Ok((masqueraded && solo.route(of_pods)?.is_some()).then_some(()))
    })?;
    solo.api.delete_fakes()
}

fn create(solo: &Solo) -> Result<()> {
    let object = json!({"metadata": {"name": NAME}, "spec": {"cidrs": RANGES}});
    let object = serde_json::from_value::<ServiceCIDR>(object)?;
    solo.api.observer.ask(|client| async move {
        Api::<ServiceCIDR>::all(client).create(&PostParams::default(), &object).await?;
        Ok(())
    })
}

fn delete(solo: &Solo) -> Result<()> {
    solo.api.observer.ask(|client| async move {
        Api::<ServiceCIDR>::all(client).delete(NAME, &DeleteParams::default()).await?;
        Ok(())
    })
}
