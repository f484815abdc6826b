//! From environment and standard input to what is printed, and the exit code.

use common::names;
use serde_json::Value;

use crate::commands::{add, check, del, exec, gc, loopback, status};
use crate::error::Error;
use crate::request::{self, Call, Conf, Environment, Request};
use crate::spec::{self, Version};

/// Longest network configuration, in bytes: a node's is some hundred.
pub const STDIN_MAX: usize = 1 << 20;

/// Which plugin the program is, told by the name by which it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    Kubenet,
    /// It adapts one of kubelet's exec protocol.
    Exec,
    Loopback,
}

/// What a runtime gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Success: one JSON object, or nothing to say.
    Done(Option<String>),
    /// A CNI error, as JSON.
    Failed(String),
}

impl Plugin {
    /// By the last part of the program's path, whatever else it may be.
    pub fn called(name: &str) -> Self {
        match name {
            names::LOOPBACK_PLUGIN => Self::Loopback,
            names::EXEC_PLUGIN => Self::Exec,
            _ => Self::Kubenet,
        }
    }
}

/// What a person is told who calls it by `name`; a runtime always says what it wants.
pub fn about(name: &str) -> String {
    let (release, versions) = (common::version(), Version::ALL.map(Version::as_str).join(", "));
    format!("CNI plugin {name} of kubenet {release}\nCNI protocol versions supported: {versions}")
}

/// Does what a runtime asks for.
pub fn answer(plugin: Plugin, environment: &Environment, stdin: &[u8]) -> Answer {
    let conf = request::decode(stdin, STDIN_MAX);
    // The version of an answer is the request's, as far as that can be told.
    let version = conf.as_ref().ok().and_then(|conf| request::version(conf).ok());
    match run(plugin, environment, conf) {
        Ok(result) => Answer::Done(result.map(|result| result.to_string())),
        Err(error) => {
            let version = version.unwrap_or(Version::NEWEST);
            let details = details(&error, environment.trace());
            let answer = spec::failed(version, error.code(), &error.to_string(), &details);
            Answer::Failed(answer.to_string())
        }
    }
}

fn run(
    plugin: Plugin,
    environment: &Environment,
    conf: Result<Conf, Error>,
) -> Result<Option<Value>, Error> {
    let call = match plugin {
        Plugin::Kubenet => Call::parse(environment)?,
        // What else is said of a pod is not for them.
        Plugin::Exec | Plugin::Loopback => {
            Call::parse(&Environment { args: None, ..environment.clone() })?
        }
    };
    if call == Call::Version {
        // Whoever asks which versions there are need not know one.
        let version = conf.and_then(|conf| request::version(&conf)).unwrap_or(Version::NEWEST);
        return Ok(Some(spec::versions(version)));
    }
    let conf = conf?;
    let version = request::version(&conf)?;
    call.check_version(version)?;
    match plugin {
        Plugin::Loopback => loopback::run(call, version, conf),
        Plugin::Exec => exec::run(call, &environment.pod(), version, conf),
        Plugin::Kubenet => kubenet(Request::parse(call, conf)?, version),
    }
}

fn kubenet(request: Request, version: Version) -> Result<Option<Value>, Error> {
    match request {
        Request::Add { target, args, previous, config } => {
            return add::add(version, &target, args, &config, previous).map(Some);
        }
        Request::Del { id, state_dir } => del::del(&id, &state_dir),
        Request::Check { target, previous, config } => check::check(&target, &config, &previous),
        Request::Gc { network, valid, state_dir } => gc::gc(&network, &valid, &state_dir),
        Request::Status { config } => status::status(&config),
        Request::Version => return Ok(Some(spec::versions(version))),
    }
    .map(|()| None)
}

/// What led to an error, outermost first, and the trace in which a runtime finds the whole request.
fn details(error: &Error, trace: Option<&str>) -> String {
    let first = std::error::Error::source(error);
    let chain = std::iter::successors(first, |cause| cause.source());
    let causes = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let trace = trace.map(|id| format!("trace {id}")).unwrap_or_default();
    let said = [causes, trace].into_iter().filter(|text| !text.is_empty());
    said.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_trace_of_the_runtimes_request() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let details = |parent: Option<String>| {
            let environment = Environment {
                command: Some("STATUS".into()),
                trace_parent: parent.map(Into::into),
                ..Environment::default()
            };
            let Answer::Failed(text) = answer(Plugin::Kubenet, &environment, b"{}") else {
                panic!("{{}} is no configuration");
            };
            serde_json::from_str::<Value>(&text).unwrap()["details"].clone()
        };
        assert_eq!(details(Some(format!("00-{id}-00f067aa0ba902b7-01"))), format!("trace {id}"));
        assert_eq!([details(Some(id.to_owned())), details(None)], [Value::Null, Value::Null]);
    }
}
