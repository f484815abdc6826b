//! Pure: `CNI_ARGS`: `KEY=VALUE` pairs between semicolons, by which a runtime says whose container it is.
//!
//! Read as libcni's `types.LoadArgs` does: a pair has one `=`, of two pairs with one key the last
//! counts, and an unknown key is a mistake unless `IgnoreUnknown` says otherwise.

use std::net::IpAddr;

use common::attachment::Pod;
use net::Mac;

use super::asked;

/// The longest name that Kubernetes gives anything (RFC 1123, a DNS subdomain), in bytes.
const NAME_MAX: usize = 253;

/// What the pairs say that we heed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) pod: Option<Pod>,
    /// The address that is asked for.
    pub(super) ip: Option<IpAddr>,
    pub(super) mac: Option<Mac>,
}

impl Args {
    /// Adds what is wrong to `mistakes`.
    pub(super) fn parse(text: &str, mistakes: &mut Vec<String>) -> Self {
        let mut pod = Pod::default();
        let (mut ip, mut mac) = (None, None);
        let mut unknown = Vec::new();
        let mut ignore_unknown = false;
        for pair in text.split(';').filter(|_| !text.is_empty()) {
            let Some((key, value)) = pair.split_once('=').filter(|(_, value)| !value.contains('='))
            else {
                mistakes.push(format!("CNI_ARGS: {pair:?} is no pair of a key and a value"));
                continue;
            };
            match key {
                "IgnoreUnknown" => match value.to_ascii_lowercase().as_str() {
                    "1" | "true" => ignore_unknown = true,
                    "0" | "false" => ignore_unknown = false,
                    _ => mistakes.push(format!("CNI_ARGS: {key}={value:?}: want 1 or 0")),
                },
                "K8S_POD_NAMESPACE" => pod.namespace = name(key, value, mistakes),
                "K8S_POD_NAME" => pod.name = name(key, value, mistakes),
                "K8S_POD_UID" => pod.uid = name(key, value, mistakes),
                "IP" => ip = read(key, value, asked::without_length, mistakes),
                "MAC" => mac = read(key, value, |text| text.parse().ok(), mistakes),
                // The container that CNI_CONTAINERID names.
                "K8S_POD_INFRA_CONTAINER_ID" => {}
                _ => unknown.push(key),
            }
        }
        if !unknown.is_empty() && !ignore_unknown {
            let unknown = unknown.join(", ");
            mistakes.push(format!(
                "CNI_ARGS has keys that nobody here knows: {unknown}; IgnoreUnknown=1 permits them"
            ));
        }
        let named = !pod.namespace.is_empty() && !pod.name.is_empty();
        Self { pod: named.then_some(pod), ip, mac }
    }
}

/// None for an empty text, as libcni reads it.
fn read<T>(
    key: &str,
    value: &str,
    parse: impl FnOnce(&str) -> Option<T>,
    mistakes: &mut Vec<String>,
) -> Option<T> {
    if value.is_empty() {
        return None;
    }
    let read = parse(value);
    if read.is_none() {
        mistakes.push(format!("CNI_ARGS: {key}={value:?} is no address"));
    }
    read
}

/// A name that fits a line of a log: runtimes other than Kubernetes' have names of their own grammar.
fn name(key: &str, value: &str, mistakes: &mut Vec<String>) -> String {
    let fits = value.len() <= NAME_MAX && !value.contains(|c: char| c.is_control() || c == ' ');
    if !fits {
        mistakes.push(format!(
            "CNI_ARGS: {key}={value:?} is no name: want {NAME_MAX} bytes at most, without spaces"
        ));
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<[&str; 3]>) {
        let mut mistakes = Vec::new();
        let args = Args::parse(text, &mut mistakes);
        assert_eq!(mistakes, [""; 0]);
        let pod = args.pod.map(|pod| [pod.namespace, pod.name, pod.uid]);
        assert_eq!(pod, expected.map(|names| names.map(str::to_owned)));
    }

    #[track_caller]
    fn refused(text: &str, parts: &[&str]) {
        let mut mistakes = Vec::new();
        Args::parse(text, &mut mistakes);
        let mistakes = mistakes.join("; ");
        assert!(!mistakes.is_empty() && parts.iter().all(|p| mistakes.contains(p)), "{mistakes}");
    }

    #[test]
    fn the_pod_is_who_the_runtime_says() {
        let containerd = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;\
            K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=4f6a";
        check(containerd, Some(["default", "web-0", "4f6a"]));
        check("K8S_POD_NAME=my_pod;K8S_POD_NAMESPACE=n", Some(["n", "my_pod", ""]));
        check("", None);
        check("K8S_POD_NAME=web-0", None);
        check("K8S_POD_NAMESPACE=;K8S_POD_NAME=web-0", None);
        check("K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_NAME=c", Some(["a", "c", ""]));
    }

    #[test]
    fn unknown_keys_are_for_whoever_ignores_them() {
        check("FOO=BAR;IgnoreUnknown=TRUE", None);
        refused("FOO=BAR;ABC=1", &["FOO, ABC", "IgnoreUnknown=1"]);
        refused("FOO=BAR;IgnoreUnknown=0", &["FOO"]);
        refused("FOO=BAR;IgnoreUnknown=1;IgnoreUnknown=false", &["FOO"]);
        refused("k8s_pod_name=web-0", &["k8s_pod_name"]);
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        refused("K8S_POD_NAME", &["\"K8S_POD_NAME\" is no pair"]);
        refused("K8S_POD_NAME=a=b", &["\"K8S_POD_NAME=a=b\" is no pair"]);
        refused("IgnoreUnknown=1;", &["\"\" is no pair"]);
        refused("IgnoreUnknown=yes", &["want 1 or 0"]);
    }

    #[test]
    fn an_address_may_be_asked_for() {
        let mut mistakes = Vec::new();
        let args = Args::parse("IP=10.244.1.9;MAC=02:00:00:00:00:01", &mut mistakes);
        assert_eq!(args.ip, Some([10, 244, 1, 9].into()));
        assert_eq!(args.mac, Some(Mac([2, 0, 0, 0, 0, 1])));
        for text in ["IP=10.244.1.9/24", "IP=::ffff:10.244.1.9"] {
            assert_eq!(Args::parse(text, &mut mistakes).ip, args.ip, "{text}");
        }
        assert_eq!(Args::parse("IP=;MAC=", &mut mistakes), Args::default());
        assert_eq!(mistakes, [""; 0]);
        refused("IP=10.244.1;MAC=02", &["IP=\"10.244.1\" is no address", "MAC=\"02\""]);
        refused("IP=10.244.1.9/33", &["IP=\"10.244.1.9/33\" is no address"]);
    }

    #[test]
    fn a_name_is_one_word() {
        refused("K8S_POD_NAME=a b;K8S_POD_NAMESPACE=\nc", &["\"a b\"", "\"\\nc\""]);
        refused(&format!("K8S_POD_UID={}", "u".repeat(254)), &["253 bytes at most"]);
    }
}
