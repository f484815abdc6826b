//! Pure: the resolver's settings that the result passes on: the runtime's, or else the network's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Conf;

/// As a result has it (CNI spec 1.1, section 5, "Success", `dns`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Dns {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nameservers: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    search: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<String>,
}

/// As CNI's conventions have the capability, or with the capitals of go-cni, whose empty lists are null.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    #[serde(alias = "Servers")]
    servers: Option<Vec<String>>,
    #[serde(alias = "Searches")]
    searches: Option<Vec<String>>,
    #[serde(alias = "Options")]
    options: Option<Vec<String>>,
}

/// None where neither says anything.
pub(super) fn parse(
    runtime: &Conf,
    network: Option<&Value>,
    mistakes: &mut Vec<String>,
) -> Option<Dns> {
    let asked = runtime.get("dns").map(Option::<Asked>::deserialize).transpose();
    let network = network.map(Option::<Dns>::deserialize).transpose();
    match (asked, network) {
        (Ok(asked), Ok(network)) => {
            let asked = asked.flatten().map(|Asked { servers, searches, options }| Dns {
                nameservers: servers.unwrap_or_default(),
                domain: String::new(),
                search: searches.unwrap_or_default(),
                options: options.unwrap_or_default(),
            });
            let said = [asked, network.flatten()].into_iter().flatten();
            said.into_iter().find(|dns| *dns != Dns::default())
        }
        (asked, network) => {
            let errors = [asked.err(), network.err()].into_iter().flatten();
            mistakes.extend(errors.map(|error| format!("dns: {error}")));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(runtime: &Value, network: &Value, expected: &Value) {
        let mut mistakes = Vec::new();
        let runtime = json!({ "dns": runtime }).as_object().unwrap().clone();
        let dns = parse(&runtime, Some(network), &mut mistakes);
        assert_eq!(json!(dns), *expected);
        assert_eq!(mistakes, [""; 0]);
    }

    #[test]
    fn the_runtimes_settings_come_before_the_networks() {
        let network = json!({ "nameservers": ["10.0.0.1"], "domain": "d", "options": ["ndots:5"] });
        check(&Value::Null, &network, &network);
        check(
            &json!({ "servers": ["10.96.0.10"], "searches": ["svc.cluster.local"] }),
            &network,
            &json!({ "nameservers": ["10.96.0.10"], "search": ["svc.cluster.local"] }),
        );
        let go = json!({ "Servers": ["10.96.0.10"], "Searches": null, "Options": ["ndots:5"] });
        let expected = json!({ "nameservers": ["10.96.0.10"], "options": ["ndots:5"] });
        check(&go, &Value::Null, &expected);
        check(&json!({ "Servers": null, "Searches": null, "Options": null }), &network, &network);
        check(&json!({}), &json!({}), &Value::Null);
    }

    #[test]
    fn what_is_no_list_of_names_is_a_mistake() {
        let mut mistakes = Vec::new();
        let runtime = json!({ "dns": { "servers": 7 } }).as_object().unwrap().clone();
        parse(&runtime, Some(&json!({ "search": "s" })), &mut mistakes);
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert!(mistakes.iter().all(|mistake| mistake.starts_with("dns: invalid type")));
    }
}
