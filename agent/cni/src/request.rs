//! Pure: what a runtime asks for: environment and configuration, checked whole, every mistake named.
//!
//! DEL and GC take the least of the configuration that will do: they must work with one whose ranges
//! are gone.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use common::attachment::{self, AttachmentId, NameError};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::spec::{self, Version};

mod args;
mod asked;
mod bandwidth;
mod config;
mod dns;
mod environment;
mod trace;

pub(crate) use args::Args;
pub(crate) use bandwidth::Rates;
pub(crate) use config::Config;
pub(crate) use dns::Dns;
pub use environment::Environment;

/// A request that can be tried.
#[derive(Debug)]
pub(crate) enum Request {
    Add { target: Target, args: Args, previous: Option<Value>, config: Config },
    Del { id: AttachmentId, state_dir: PathBuf },
    Check { target: Target, previous: Value, config: Config },
    Gc { network: String, valid: BTreeSet<AttachmentId>, state_dir: PathBuf },
    Status { config: Config },
    Version,
}

/// Which interface, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) id: AttachmentId,
    pub(crate) netns: PathBuf,
}

/// What is asked (`CNI_COMMAND`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Verb {
    const ALL: [Self; 6] =
        [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The version of CNI that brought it.
    const fn since(self) -> Version {
        match self {
            Self::Add | Self::Del | Self::Version => Version::V0_1_0,
            Self::Check => Version::V0_4_0,
            Self::Gc | Self::Status => Version::V1_1_0,
        }
    }
}

/// What the environment alone tells of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Add(Target, Args),
    /// The namespace is there where a runtime says it.
    Del(AttachmentId, Option<PathBuf>),
    Check(Target),
    Gc,
    Status,
    Version,
}

/// What stands on standard input: an object.
pub(crate) type Conf = Map<String, Value>;

/// Decodes what a runtime writes to standard input.
pub(crate) fn decode(stdin: &[u8], limit: usize) -> Result<Conf, Error> {
    let what = "the network configuration on standard input";
    let refused = |reason: String| Error::Decode { what, reason };
    if stdin.len() > limit {
        return Err(refused(format!("it is longer than {limit} bytes")));
    }
    if stdin.trim_ascii().is_empty() {
        return Err(refused("it is empty".to_owned()));
    }
    serde_json::from_slice(stdin).map_err(|error| refused(error.to_string()))
}

/// The version that `conf` speaks; without one it is 0.1.0, says the specification, and libcni also where
/// it is empty.
pub(crate) fn version(conf: &Conf) -> Result<Version, Error> {
    let text = match conf.get("cniVersion") {
        None | Some(Value::Null) => "0.1.0",
        Some(Value::String(text)) if text.is_empty() => "0.1.0",
        Some(Value::String(text)) => text,
        Some(other) => return Err(Error::Config(vec![format!("cniVersion is no text: {other}")])),
    };
    let supported = || Version::ALL.map(Version::as_str).join(", ");
    Version::parse(text).ok_or_else(|| {
        Error::IncompatibleVersion(format!(
            "CNI version {text:?} is not supported: the plugin speaks {}",
            supported()
        ))
    })
}

impl Call {
    /// Checks the environment.
    pub(crate) fn parse(environment: &Environment) -> Result<Self, Error> {
        let command = text(environment.command.as_ref());
        let Some(verb) = Verb::ALL.into_iter().find(|verb| verb.as_str() == command) else {
            let known = Verb::ALL.map(Verb::as_str).join(", ");
            let mistake = format!("CNI_COMMAND is {command:?}: want one of {known}");
            return Err(Error::Environment(vec![mistake]));
        };
        let (container_id, ifname) =
            (text(environment.container_id.as_ref()), text(environment.ifname.as_ref()));
        let id = AttachmentId::new(&container_id, &ifname).ok();
        let netns = environment.netns.as_ref().filter(|path| !path.is_empty()).map(PathBuf::from);
        let mut mistakes = Vec::new();
        if matches!(verb, Verb::Add | Verb::Del | Verb::Check) {
            let container_id = ("CNI_CONTAINERID", attachment::check_container_id(&container_id));
            let ifname = ("CNI_IFNAME", attachment::check_ifname(&ifname));
            mistakes.extend([container_id, ifname].into_iter().filter_map(mistake));
        }
        if matches!(verb, Verb::Add | Verb::Check) && netns.is_none() {
            mistakes.push("CNI_NETNS is missing".to_owned());
        }
        // What only ADD heeds hinders no DEL.
        let args = match verb {
            Verb::Add => Args::parse(&text(environment.args.as_ref()), &mut mistakes),
            _ => Args::default(),
        };
        let target = id.clone().zip(netns.clone()).map(|(id, netns)| Target { id, netns });
        let call = match verb {
            Verb::Add => target.map(|target| Self::Add(target, args)),
            Verb::Del => id.map(|id| Self::Del(id, netns)),
            Verb::Check => target.map(Self::Check),
            Verb::Gc => Some(Self::Gc),
            Verb::Status => Some(Self::Status),
            Verb::Version => Some(Self::Version),
        };
        call.filter(|_| mistakes.is_empty()).ok_or(Error::Environment(mistakes))
    }

    const fn verb(&self) -> Verb {
        match self {
            Self::Add(..) => Verb::Add,
            Self::Del(..) => Verb::Del,
            Self::Check(_) => Verb::Check,
            Self::Gc => Verb::Gc,
            Self::Status => Verb::Status,
            Self::Version => Verb::Version,
        }
    }

    /// Refuses a verb that the configuration's version does not have.
    pub(crate) fn check_version(&self, version: Version) -> Result<(), Error> {
        let verb = self.verb();
        if version >= verb.since() {
            return Ok(());
        }
        let (verb, since) = (verb.as_str(), verb.since().as_str());
        let spoken = version.as_str();
        Err(Error::IncompatibleVersion(format!(
            "{verb} came with CNI {since}: the network configuration speaks {spoken}"
        )))
    }
}

/// Bytes that are no UTF-8 are in no valid name, and neither is what they become here.
fn text(value: Option<&OsString>) -> String {
    value.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

fn mistake((variable, checked): (&str, Result<(), NameError>)) -> Option<String> {
    Some(match checked.err()? {
        NameError::ContainerId(text) | NameError::Ifname(text) if text.is_empty() => {
            format!("{variable} is missing")
        }
        error => format!("{variable}: {error}"),
    })
}

impl Request {
    /// Checks the configuration as far as the call needs it.
    pub(crate) fn parse(call: Call, mut conf: Conf) -> Result<Self, Error> {
        let previous = conf.remove("prevResult").filter(|previous| !previous.is_null());
        Ok(match call {
            Call::Add(target, args) => {
                let (version, previous) = (version(&conf)?, object(previous)?);
                let config = Config::parse(conf, &args)?;
                let before = previous.as_ref();
                let full = before.and_then(|it| spec::without_room(version, it, &config.ranges));
                if let Some(family) = full {
                    let version = version.as_str();
                    return Err(Error::Config(vec![format!(
                        "prevResult has an {family} address, and CNI {version} has room for one"
                    )]));
                }
                Self::Add { target, args, previous, config }
            }
            Call::Check(target) => {
                let previous = object(previous)?.ok_or_else(|| {
                    Error::Config(vec!["prevResult is missing: CHECK compares with it".to_owned()])
                })?;
                Self::Check { target, previous, config: Config::parse(conf, &Args::default())? }
            }
            Call::Del(id, _) => Self::Del { id, state_dir: config::state_dir(&conf)? },
            Call::Gc => {
                let network = config::network_name(&conf);
                let network = network.map_err(|mistake| Error::Config(vec![mistake]))?;
                let valid = valid_attachments(&mut conf)?;
                Self::Gc { network, valid, state_dir: config::state_dir(&conf)? }
            }
            Call::Status => Self::Status { config: Config::parse(conf, &Args::default())? },
            Call::Version => Self::Version,
        })
    }
}

fn object(previous: Option<Value>) -> Result<Option<Value>, Error> {
    match previous {
        Some(other) if !other.is_object() => {
            Err(Error::Config(vec!["prevResult is no object".to_owned()]))
        }
        previous => Ok(previous),
    }
}

/// The attachments that GC must keep (CNI spec 1.1, section 2, "GC"); libcni and the first text of that
/// specification have a second name for them (containernetworking/cni#1101).
fn valid_attachments(conf: &mut Conf) -> Result<BTreeSet<AttachmentId>, Error> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "containerID")]
        container_id: String,
        ifname: String,
    }
    const KEY: &str = "cni.dev/valid-attachments";
    const OTHER_KEY: &str = "cni.dev/attachments";
    let refused = |why: String| Error::Config(vec![format!("{KEY}: {why}")]);
    let list = conf.remove(KEY).or_else(|| conf.remove(OTHER_KEY));
    // Without the list everything would go.
    let list = list.ok_or_else(|| refused("it is missing".to_owned()))?;
    let list =
        Option::<Vec<Named>>::deserialize(list).map_err(|error| refused(error.to_string()))?;
    // libcni writes an empty list as null.
    let ids =
        list.iter().flatten().map(|named| AttachmentId::new(&named.container_id, &named.ifname));
    // A name that we refuse at ADD is the name of nothing of ours.
    Ok(ids.filter_map(Result::ok).collect())
}

#[cfg(test)]
mod bytes;
#[cfg(test)]
mod tests;
