//! Pure: kubelet's exec protocol (pkg/kubelet/network/exec, 1.7): what a plugin is called with, and what
//! its `status` says.

use std::net::IpAddr;

use serde::Deserialize;

use crate::error::Error;

/// What the plugin is asked for; `init` is the agent's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Setup,
    Teardown,
    Status,
}

impl Verb {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Teardown => "teardown",
            Self::Status => "status",
        }
    }
}

/// The plugin's answer to `status`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    ip: IpAddr,
}

/// The pod's address; none where the plugin leaves that to the runtime, by saying nothing.
pub(crate) fn address(stdout: &str) -> Result<Option<IpAddr>, Error> {
    let refused = |reason: String| Error::Decode { what: "the exec plugin's status", reason };
    if stdout.trim().is_empty() {
        return Ok(None);
    }
    let status =
        serde_json::from_str::<Status>(stdout).map_err(|error| refused(error.to_string()))?;
    match (status.api_version.as_str(), status.kind.as_str()) {
        ("" | "v1beta1", "" | "PodNetworkStatus") => Ok(Some(status.ip)),
        (version, kind) => Err(refused(format!(
            "it is a {kind:?} of {version:?}, want a PodNetworkStatus of v1beta1"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stdout: &str, expected: Option<&str>) {
        assert_eq!(address(stdout).unwrap(), expected.map(|ip| ip.parse().unwrap()));
    }

    #[test]
    fn a_status_gives_the_address() {
        let whole = r#"{"apiVersion": "v1beta1", "kind": "PodNetworkStatus", "ip": "10.20.30.40"}"#;
        check(whole, Some("10.20.30.40"));
        check(r#"{"ip": "fe80::e2cb:4eff:fef9:6710"}"#, Some("fe80::e2cb:4eff:fef9:6710"));
        check("\n", None);
    }

    #[test]
    fn another_status_is_refused() {
        for (stdout, expected) in [
            (r#"{"apiVersion": "v2", "ip": "10.20.30.40"}"#, "want a PodNetworkStatus of v1beta1"),
            (r#"{"kind": "Pod", "ip": "10.20.30.40"}"#, "want a PodNetworkStatus of v1beta1"),
            (r#"{"ip": "10.20.30"}"#, "invalid IP address syntax"),
            ("all is well", "expected value"),
            ("{}", "missing field `ip`"),
        ] {
            let error = address(stdout).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
