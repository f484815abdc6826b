//! ClusterCIDR objects on a real API server: what its definition refuses, whom they serve, and what
//! becomes of them.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::api_server::ApiServer;
use e2e::artifacts::source;
use e2e::fake;
use e2e::node_ipam::{NodeIpam, Running};
use e2e::wait::eventually;

use crate::World;

const PATIENCE: Duration = Duration::from_mins(1);

/// The definition, as the chart installs it.
const DEFINITION: &str = "charts/kubenet/files/crds/clustercidrs.yaml";

const RESOURCE: &str = "clustercidrs.networking.x-k8s.io";

/// The ranges of node-ipam-controller's own tests.
const FLAGS: [&str; 3] = [
    "--cluster-cidr=10.96.0.0/12,fd00:10:96::/112",
    "--node-cidr-mask-size-ipv4=24",
    "--node-cidr-mask-size-ipv6=120",
];

/// A controller at work on a cluster that has neither Nodes nor ClusterCIDRs at first.
struct Stage<'a> {
    api: &'a ApiServer,
    _controller: Running,
}

impl<'a> Stage<'a> {
    fn begin(world: &'a World) -> Result<Self> {
        world.api.delete_fakes()?;
        Ok(Self { api: &world.api, _controller: world.start(NodeIpam::Kubenet, &FLAGS)? })
    }

    fn define(&self) -> Result<()> {
        self.api.apply(&fs::read_to_string(source().join(DEFINITION))?)?;
        let established = ["wait", "--for=condition=Established", "--timeout=60s", "crd", RESOURCE];
        self.api.kubectl(&established).map(drop)
    }

    /// Creates a ClusterCIDR, and waits until it serves.
    fn serve(&self, name: &str, spec: &str) -> Result<()> {
        self.api.apply(&object(name, spec))?;
        self.condition(name, "Ready", "True", "Serving").map(drop)
    }

    /// Waits for a condition, and returns its message.
    fn condition(&self, name: &str, kind: &str, status: &str, reason: &str) -> Result<String> {
        let path = format!("{{.status.conditions[?(@.type==\"{kind}\")]}}");
        let what = format!("ClusterCIDR {name} is {kind}={status}, {reason}");
        let wanted = [format!("\"status\":\"{status}\""), format!("\"reason\":\"{reason}\"")];
        eventually(&what, PATIENCE, || {
            let condition = self.field(name, &path)?;
            let reached = wanted.iter().all(|text| condition.contains(text));
            Ok(reached.then_some(condition))
        })
    }

    fn field(&self, name: &str, path: &str) -> Result<String> {
        self.api.kubectl(&["get", RESOURCE, name, "-o", &format!("jsonpath={path}")])
    }

    /// Creates a Node with `labels`, as in `a=b c=d`, and waits for its podCIDRs.
    fn node(&self, name: &str, labels: &str) -> Result<String> {
        let mut node = fake::node(name, &[], &[]);
        let labels = labels.split_whitespace().filter_map(|label| label.split_once('='));
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        node.metadata.labels.get_or_insert_default().extend(labels);
        self.api.observer.create_nodes(vec![node])?;
        self.api.observer.wait(&format!("{name} has podCIDRs"), PATIENCE, |cluster| {
            let cidrs = cluster.nodes.get(name)?.object.spec.as_ref()?.pod_cidrs.as_ref()?;
            Some(cidrs.join(" "))
        })
    }

    fn delete_node(&self, name: &str) -> Result<()> {
        self.api.kubectl(&["delete", "node", name]).map(drop)
    }

    fn wait_until_gone(&self, name: &str) -> Result<()> {
        eventually(&format!("ClusterCIDR {name} is gone"), PATIENCE, || {
            let names = self.api.kubectl(&["get", RESOURCE, "-o", "name"])?;
            Ok((!names.lines().any(|line| line.ends_with(&format!("/{name}")))).then_some(()))
        })
    }

    /// Deletes all Nodes, then all ClusterCIDRs, whose finalizers are the controller's to remove.
    fn end(self) -> Result<()> {
        self.api.delete_fakes()?;
        self.api.kubectl(&["delete", RESOURCE, "--all", "--timeout=60s"]).map(drop)
    }
}

fn object(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.x-k8s.io/v1\nkind: ClusterCIDR\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

/// The selector of Nodes that have all of `labels`, as in `a=b c=d`.
fn with(labels: &str) -> String {
    let requirement = |label: &str| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        format!("{{key: {key}, operator: In, values: [\"{value}\"]}}")
    };
    let requirements = labels.split_whitespace().map(requirement).collect::<Vec<_>>().join(", ");
    format!("nodeSelector: {{nodeSelectorTerms: [{{matchExpressions: [{requirements}]}}]}}")
}

pub(crate) fn come_and_go(world: &mut World) -> Result<()> {
    let stage = Stage::begin(world)?;
    let first = stage.node("before", "rack=r7")?;
    ensure!(first == "10.96.0.0/24 fd00:10:96::/120", "without a definition: {first}");
    stage.define()?;
    stage.serve("racks", &format!("perNodeHostBits: 8, ipv4: 10.7.0.0/16, {}", with("rack=r7")))?;
    let second = stage.node("after", "rack=r7")?;
    ensure!(second == "10.7.0.0/24", "with a ClusterCIDR: {second}");
    // What a Node has outlives even the definition.
    stage.delete_node("after")?;
    stage.api.kubectl(&["delete", "crd", RESOURCE, "--timeout=60s"])?;
    let third = stage.node("without", "rack=r7")?;
    ensure!(third == "10.96.1.0/24 fd00:10:96::100/120", "once it is gone: {third}");
    // Back again, it is noticed again.
    stage.define()?;
    stage.serve("racks", &format!("perNodeHostBits: 8, ipv4: 10.7.0.0/16, {}", with("rack=r7")))?;
    stage.end()
}

pub(crate) fn refused(world: &mut World) -> Result<()> {
    let stage = Stage::begin(world)?;
    stage.define()?;
    let refuses = |spec: &str, why: &str| {
        let answer = stage.api.apply(&object("refused", spec)).err().map(|error| error.to_string());
        let answer = answer.with_context(|| format!("{{{spec}}} was taken"))?;
        ensure!(answer.contains(why), "{{{spec}}}: {answer}");
        Ok(())
    };
    let ipv4 = "perNodeHostBits: 8, ipv4: 10.1.0.0/16";
    let key = "{key: NoUppercaseOrSpecialCharsLike=Equals, operator: In, values: [bar]}";
    let terms = |term: &str| format!("{ipv4}, nodeSelector: {{nodeSelectorTerms: [{{{term}}}]}}");
    for (spec, why) in [
        ("perNodeHostBits: 8", "A CIDR must be specified for ipv4 or ipv6."),
        ("perNodeHostBits: 8, ipv4: test", "IPv4 must be a valid IPv4 CIDR."),
        ("perNodeHostBits: 8, ipv4: 1000.2.0.0/16", "IPv4 must be a valid IPv4 CIDR."),
        ("perNodeHostBits: 8, ipv4: \"fd00::/120\"", "IPv4 must be a valid IPv4 CIDR."),
        ("perNodeHostBits: 8, ipv6: testv6", "IPv6 must be a valid IPv6 CIDR."),
        ("perNodeHostBits: 8, ipv6: \"aaaaa:1:1::/112\"", "IPv6 must be a valid IPv6 CIDR."),
        ("perNodeHostBits: 8, ipv6: 10.2.0.0/16", "IPv6 must be a valid IPv6 CIDR."),
        ("perNodeHostBits: 2, ipv4: 10.1.0.0/16", "greater than or equal to 4"),
        ("perNodeHostBits: 24, ipv4: 10.1.0.0/16", "at least one block of IPv4"),
        ("perNodeHostBits: 12, ipv6: \"fd00::/120\"", "at least one block of IPv6"),
        (&format!("{ipv4}, nodeSelector: {{}}"), "nodeSelectorTerms: Required value"),
        (&format!("{ipv4}, nodeSelector: {{nodeSelectorTerms: []}}"), "at least 1 items"),
        (&terms(&format!("matchExpressions: [{key}]")), "should match"),
        (&terms("matchExpressions: [{key: a, operator: Like}]"), "Unsupported value: \"Like\""),
        (&terms("matchExpressions: [{key: a, operator: In}]"), "In and NotIn want values"),
        (&terms("matchFields: [{key: b, operator: Exists}]"), "metadata.name alone"),
    ] {
        refuses(spec, why)?;
    }
    let spec = format!("{ipv4}, ipv6: \"fd00:1:1::/64\", {}", with("foo=bar"));
    stage.serve("fixed", &spec)?;
    let other = |from: &str, to: &str| object("fixed", &spec.replace(from, to));
    for (from, to, why) in [
        ("Bits: 8", "Bits: 12", "PerNodeHostBits cannot be changed."),
        ("10.1.0.0", "10.2.0.0", "IPv4 cannot be changed."),
        ("fd00:1:1::/64", "fd00:2::/112", "IPv6 cannot be changed."),
        ("\"bar\"", "\"bar2\"", "NodeSelector cannot be changed."),
    ] {
        let answer = stage.api.apply(&other(from, to)).err().map(|error| error.to_string());
        let answer = answer.with_context(|| format!("{from} became {to}"))?;
        ensure!(answer.contains(why), "{from} to {to}: {answer}");
    }
    stage.api.apply(&other("", ""))?;
    stage.end()
}

pub(crate) fn by_labels(world: &mut World) -> Result<()> {
    let stage = Stage::begin(world)?;
    stage.define()?;
    let eight =
        |cidrs: &str, labels: &str| format!("perNodeHostBits: 8, {cidrs}, {}", with(labels));
    let bootstrap = "ipv4: 10.2.0.0/16, ipv6: \"fd00:20:96::/112\"";
    stage.serve("bootstrap", &eight(bootstrap, "bootstrap=true"))?;
    stage.serve("v4", &eight("ipv4: 10.0.0.0/16", "ipv4=true singlestack=true"))?;
    stage.serve("v6", &eight("ipv6: \"fd00:20:100::/112\"", "ipv6=true"))?;
    let dual = "ipv4: 192.168.0.0/16, ipv6: \"fd00:30:100::/112\"";
    stage.serve("dual", &eight(dual, "ipv4=true ipv6=true"))?;
    for (number, (labels, expected)) in [
        ("", "10.96.0.0/24 fd00:10:96::/120"),
        ("bootstrap=true", "10.2.0.0/24 fd00:20:96::/120"),
        ("bootstrap=true", "10.2.1.0/24 fd00:20:96::100/120"),
        ("ipv4=true singlestack=true", "10.0.0.0/24"),
        ("ipv6=true", "fd00:20:100::/120"),
        ("ipv4=true ipv6=true", "192.168.0.0/24 fd00:30:100::/120"),
    ]
    .into_iter()
    .enumerate()
    {
        let given = stage.node(&format!("labelled-{number}"), labels)?;
        ensure!(given == expected, "{labels}: {given}, not {expected}");
    }
    // Of two that mean it equally well the smaller one; it overlaps the flags' range as well.
    stage.serve("small", &eight("ipv4: 10.96.0.0/23", "bootstrap=true"))?;
    let overlapping = stage.node("overlapping", "bootstrap=true")?;
    ensure!(overlapping == "10.96.1.0/24", "beside a Node of the flags' range: {overlapping}");
    let beside = stage.node("beside", "")?;
    ensure!(beside == "10.96.2.0/24 fd00:10:96::100/120", "beside a ClusterCIDR's Node: {beside}");
    stage.end()
}

pub(crate) fn status(world: &mut World) -> Result<()> {
    let stage = Stage::begin(world)?;
    stage.define()?;
    stage.serve("pair", &format!("perNodeHostBits: 8, ipv4: 10.7.0.0/23, {}", with("rack=r7")))?;
    stage.condition("pair", "Exhausted", "False", "FreeBlocks")?;
    stage.node("one", "rack=r7")?;
    stage.node("two", "rack=r7")?;
    let message = stage.condition("pair", "Exhausted", "True", "NoFreeBlock")?;
    ensure!(message.contains("10.7.0.0/23, mask /24: 2 blocks, 2 used"), "{message}");
    let counts = stage.field("pair", "{.status.nodes} {.status.ipv4.total} {.status.ipv4.free}")?;
    ensure!(counts == "2 2 0", "Nodes, blocks and free ones: {counts}");
    let third = stage.node("three", "rack=r7")?;
    ensure!(third.starts_with("10.96."), "what is full was given: {third}");
    stage.delete_node("two")?;
    stage.condition("pair", "Exhausted", "False", "FreeBlocks")?;
    // The definition lets it through; only the controller knows numbers in a Gt.
    let many = "nodeSelector: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Gt, values: [many]}]}]}";
    stage.api.apply(&object("odd", &format!("perNodeHostBits: 8, ipv4: 10.9.0.0/16, {many}")))?;
    let message = stage.condition("odd", "Ready", "False", "InvalidClusterCIDR")?;
    ensure!(message.contains("a Gt wants a whole number"), "{message}");
    stage.end()
}

pub(crate) fn deleted(world: &mut World) -> Result<()> {
    let stage = Stage::begin(world)?;
    stage.define()?;
    stage.serve("racks", &format!("perNodeHostBits: 8, ipv4: 10.7.0.0/16, {}", with("rack=r7")))?;
    let held = stage.node("holder", "rack=r7")?;
    ensure!(held == "10.7.0.0/24", "{held}");
    stage.api.kubectl(&["delete", RESOURCE, "racks", "--wait=false"])?;
    let message = stage.condition("racks", "Ready", "False", "Terminating")?;
    ensure!(message.contains("waits for Nodes holder"), "{message}");
    let next = stage.node("next", "rack=r7")?;
    ensure!(next.starts_with("10.96."), "what is being deleted was given: {next}");
    stage.delete_node("holder")?;
    stage.wait_until_gone("racks")?;
    stage.end()
}
