//! Every name by which kubenet is known outside its own code: on links, tables, paths, the API.
//!
//! What carries one of these marks is ours; nothing else is ever changed.

/// The bridge that pods hang on; kubenet's name since Kubernetes 1.1.
pub const BRIDGE: &str = "cbr0";

/// Prefix of the host end of a pod's veth pair; `veth+` is what kubenet's own rules matched.
pub const HOST_LINK_PREFIX: &str = "veth";

/// Prefix of the ifb link through which goes what a pod with an egress limit sends.
pub const LIMITER_PREFIX: &str = "ifb";

/// `rtm_protocol` of our routes (linux/rtnetlink.h: values from 5 up are for routing daemons;
/// 107 is in no list of iproute2's `rt_protos`).
pub const ROUTE_PROTOCOL: u8 = 107;

/// The group (`ip link show group`) of links that are deleted all at once; nobody else uses it.
pub const DELETED_LINKS_GROUP: u32 = 0x6b75_6265;

/// The nft table of the machine, family inet: masquerade. The agent swaps it whole.
pub const TABLE: &str = "kubenet";

/// The nft table of the pods, family inet: host ports. Chains are the agent's, elements the plugin's.
pub const PODS_TABLE: &str = "kubenet-pods";

/// The nft table, family bridge, that drops what a promiscuous bridge would deliver twice.
pub const DEDUP_TABLE: &str = "kubenet-dedup";

/// The plugin's file name, its `type` in the conflist, and the name of the network.
pub const PLUGIN: &str = "kubenet";

/// The name under which the plugin stands in for the reference `loopback`.
pub const LOOPBACK_PLUGIN: &str = "loopback";

/// The name under which the plugin adapts one of kubelet's exec protocol, and that of its network.
pub const EXEC_PLUGIN: &str = "kubenet-exec";

/// All names under which the plugin may be installed.
pub const PLUGINS: [&str; 3] = [LOOPBACK_PLUGIN, PLUGIN, EXEC_PLUGIN];

/// Where kubelet looked for plugins of its exec protocol.
pub const EXEC_PLUGIN_DIR: &str = "/usr/libexec/kubernetes/kubelet-plugins/net/exec";

/// Where runtimes look for plugins.
pub const CNI_BIN_DIR: &str = "/opt/cni/bin";

/// Where runtimes look for network configurations.
pub const CNI_CONF_DIR: &str = "/etc/cni/net.d";

/// Where host-local and libcni keep what they know of pods.
pub const CNI_DATA_DIR: &str = "/var/lib/cni";

/// The network configuration that the agent writes.
pub const CONFLIST: &str = "10-kubenet.conflist";

/// What the agent appends to the name of another network's configuration that it takes over from.
pub const DISABLED_SUFFIX: &str = ".kubenet-disabled";

/// Leases, attachments and last words of the agent; gone with the boot, like the pods.
pub const STATE_DIR: &str = "/run/kubenet";

/// Records of attachments, under [`STATE_DIR`]; a name with an '@' is that of a complete record.
pub const ATTACHMENTS: &str = "attachments";

/// Records of attachments that are being removed, under [`STATE_DIR`], by the same names.
pub const TOMBSTONES: &str = "tombstones";

/// A file for each attachment, under [`STATE_DIR`], that is locked by whoever works on it.
pub const CLAIMS: &str = "claims";

/// Leases, under [`STATE_DIR`]: a file for each address, named by it.
pub const LEASES: &str = "leases";

/// Holds the boot in which the rest of [`STATE_DIR`] was written, where that is no tmpfs.
pub const BOOT_ID_FILE: &str = "boot-id";

/// Why this machine's network is not ready, written by the agent: what STATUS answers with.
pub const REASON_FILE: &str = "reason";

/// There while kubenet is being removed from the machine, with what to answer whoever wants a new pod:
/// the agent stops repairing, ADD and STATUS refuse, DEL works.
pub const CLEANING_FILE: &str = "cleaning";

/// Kernel settings as they were before the agent's first change of each.
pub const BEFORE_FILE: &str = "before.json";

/// The MAC address of a bridge that the agent has taken over, as long as pods live there.
pub const BRIDGE_MAC_FILE: &str = "bridge-mac";

/// The Nodes of the cluster as the agent knew them last, for its next start without an API server.
pub const NODES_FILE: &str = "nodes.json";

/// The ranges of ClusterCIDRs and ServiceCIDRs as the agent knew them last, for the same.
pub const RANGES_FILE: &str = "ranges.json";

/// What was not masqueraded by the operator's file when that made sense last.
pub const EXCEPTIONS_FILE: &str = "non-masquerade";

/// Held by the agent as long as it lives; [`REASON_FILE`] counts only while somebody holds it.
pub const AGENT_LOCK_FILE: &str = "agent.lock";

/// Where the agent answers a DEL that leaves a tombstone: a socket, under [`STATE_DIR`].
pub const AGENT_SOCKET_FILE: &str = "agent.sock";

/// Held shared by a plugin that writes a record and its elements, exclusively by the agent while it
/// rebuilds [`PODS_TABLE`] from all records.
pub const PODS_TABLE_LOCK_FILE: &str = "pods-table.lock";

/// Field managers of our PATCHes.
pub const CONTROLLER: &str = "kubenet-controller";
pub const AGENT: &str = "kubenet-agent";
pub const CHECK: &str = "kubenet-check";

/// Ports of the loopback interface where the programs answer /livez, /readyz and /metrics; no
/// component of Kubernetes uses them.
pub const CONTROLLER_PORT: u16 = 10275;
pub const AGENT_PORT: u16 = 10276;
