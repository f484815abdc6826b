//! The definition as the chart has it, and objects as other definitions let them through.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;

const HEAD: &str =
    "# Made from common/process/src/cluster_cidrs.rs: UPDATE_GOLDEN=1 cargo test -p process\n";

#[test]
fn the_charts_definition_is_the_type() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../charts/kubenet/files/crds/clustercidrs.yaml");
    let made = format!("{HEAD}{}", serde_saphyr::to_string(&definition()).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &made).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == made, "{} is not so. {HEAD}", path.display());
}

/// One object that can't be read would end the watch of all.
#[test]
fn an_object_that_says_next_to_nothing_is_read() {
    for spec in [
        json!({"perNodeHostBits": 8}),
        json!({"perNodeHostBits": -1, "ipv4": "x", "nodeSelector": {}}),
        json!({"perNodeHostBits": 8, "nodeSelector": null, "more": {"a": 1}}),
        json!({"perNodeHostBits": 8, "nodeSelector": {"nodeSelectorTerms": [
            {}, {"matchExpressions": [{"key": "a", "operator": "Like"}]},
        ]}}),
    ] {
        let object = json!({"metadata": {"name": "a"}, "spec": spec, "status": {}});
        let read = serde_json::from_value::<ClusterCidr>(object);
        assert!(read.is_ok(), "{spec}: {read:?}");
    }
}
