//! Pure: the variables by which a runtime calls a plugin.

use std::ffi::OsString;

use common::attachment::Pod;

use super::{Args, text, trace};

/// The variables by which a runtime calls a plugin (CNI spec 1.1, section 2, "Parameters").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `CNI_COMMAND`
    pub command: Option<OsString>,
    /// `CNI_CONTAINERID`
    pub container_id: Option<OsString>,
    /// `CNI_NETNS`
    pub netns: Option<OsString>,
    /// `CNI_IFNAME`
    pub ifname: Option<OsString>,
    /// `CNI_ARGS`
    pub args: Option<OsString>,
    /// `TRACEPARENT`, which libcni hands on to plugins
    pub trace_parent: Option<OsString>,
}

impl Environment {
    /// Of which trace of the runtime's this request is a part, where it says so.
    pub(crate) fn trace(&self) -> Option<&str> {
        trace::id(self.trace_parent.as_ref()?)
    }

    /// Whose container it is; empty names where the runtime does not say.
    pub(crate) fn pod(&self) -> Pod {
        Args::parse(&text(self.args.as_ref()), &mut Vec::new()).pod.unwrap_or_default()
    }
}
