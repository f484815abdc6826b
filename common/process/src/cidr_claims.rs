//! CIDRClaim of ipam.kubenet.io/v1: a block that is handed out, by its name, and to whom; its
//! definition for the API server, and the watch.

#![expect(unreachable_pub, reason = "KubeSchema derives from copies of the types in functions")]

use futures::stream::Stream;
use kube::api::Api;
use kube::core::CustomResourceExt;
use kube::runtime::watcher::Event;
use kube::{Client, CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::contact::Contact;
use crate::watch::Watched;

/// A block of addresses that one Node alone may have. The object's name is the block.
#[derive(
    CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize,
)]
#[kube(
    group = "ipam.kubenet.io",
    version = "v1",
    kind = "CIDRClaim",
    root = "CidrClaim",
    plural = "cidrclaims",
    derive = "Default",
    derive = "PartialEq",
    doc = "A block of addresses that one Node alone may have. The controller makes and deletes it.",
    printcolumn = r#"{"name": "CIDR", "type": "string", "jsonPath": ".spec.cidr"}"#,
    printcolumn = r#"{"name": "Node", "type": "string", "jsonPath": ".spec.nodeName"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CidrClaimSpec {
    /// The block, for people to read.
    #[schemars(length(max = 43))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("cidr cannot be changed."))]
    pub cidr: String,

    /// The Node that has it, or is about to get it.
    #[schemars(length(max = 253))]
    pub node_name: String,

    /// Its metadata.uid: a Node that comes later under the same name has another one.
    #[serde(rename = "nodeUID")]
    #[schemars(length(max = 63))]
    pub node_uid: String,
}

impl Watched for CidrClaim {}

/// All claims, and then each change of them, for ever.
pub fn watch(client: Client, contact: Contact) -> impl Stream<Item = Event<CidrClaim>> + Send {
    crate::watch::watch(Api::all(client), contact)
}

/// The definition that makes the API server know claims, as YAML or JSON may have it.
pub fn definition() -> impl Serialize {
    CidrClaim::crd()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const HEAD: &str =
        "# Made from common/process/src/cidr_claims.rs: UPDATE_GOLDEN=1 cargo test -p process\n";

    #[test]
    fn the_charts_definition_of_claims_is_the_type() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../charts/kubenet/files/crds/cidrclaims.yaml");
        let made = format!("{HEAD}{}", serde_saphyr::to_string(&definition()).unwrap());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &made).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap() == made, "{} is not so. {HEAD}", path.display());
    }
}
